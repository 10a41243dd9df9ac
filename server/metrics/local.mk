# metrics: counters and their samples. Knows only common.
noinst_LIBRARIES += libmetrics.a
libmetrics_a_SOURCES = server/metrics/metrics.c server/metrics/metrics.h
