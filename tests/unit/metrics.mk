UNIT_TESTS_metrics = tests/unit/metrics.t
tests_unit_metrics_t_SOURCES = tests/unit/metrics.c
tests_unit_metrics_t_LDADD = libmetrics.a $(UNIT_LIBS_COMMON)
check_PROGRAMS += $(UNIT_TESTS_metrics)
TESTS += $(UNIT_TESTS_metrics)
