# tests: unit/ one program per module, system/ scripts that start a private server, workflow/ the main
# job, uml/ a real Linux client, conformance/, bench/, crash/, fuzz/ with targets of their own.
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .t
T_LOG_DRIVER = $(LOG_DRIVER)
T_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/lib/cmocka-skip.sh
EXTRA_DIST += tests/lib/cmocka-skip.sh
AM_TESTS_ENVIRONMENT = CMOCKA_MESSAGE_OUTPUT=tap; export CMOCKA_MESSAGE_OUTPUT; \
    VOLNFS_BUILD='$(abs_top_builddir)'; export VOLNFS_BUILD; \
    VOLNFS_SRC='$(abs_top_srcdir)'; export VOLNFS_SRC;
include $(top_srcdir)/tests/unit/local.mk
include $(top_srcdir)/tests/shim/local.mk
include $(top_srcdir)/tests/system/local.mk
include $(top_srcdir)/tests/attack/local.mk
include $(top_srcdir)/tests/bench/local.mk
include $(top_srcdir)/tests/conformance/local.mk
include $(top_srcdir)/tests/crash/local.mk
include $(top_srcdir)/tests/fight/local.mk
include $(top_srcdir)/tests/fuzz/local.mk
