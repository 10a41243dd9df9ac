# conformance: pynfs, which is not part of the tree, against private servers. PYNFS=/path/to/pynfs make conformance
EXTRA_DIST += tests/conformance/run tests/conformance/expected-4.0.txt tests/conformance/expected-4.1.txt
conformance: volnfsd volnfs
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' python3 -B $(srcdir)/tests/conformance/run
.PHONY: conformance
