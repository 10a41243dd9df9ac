UNIT_TESTS_metrics = tests/unit/metrics.t tests/unit/webpages.t
tests_unit_metrics_t_SOURCES = tests/unit/metrics.c
tests_unit_metrics_t_LDADD = libmetrics.a $(UNIT_LIBS_COMMON)
tests_unit_webpages_t_SOURCES = tests/unit/webpages.c
tests_unit_webpages_t_LDADD = libweb.a libmetrics.a $(UNIT_LIBS_PROTO) -lm
check_PROGRAMS += $(UNIT_TESTS_metrics)
TESTS += $(UNIT_TESTS_metrics)
