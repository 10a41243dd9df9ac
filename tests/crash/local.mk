# crash: `make crash` kills the server 50 times under a real Linux client; make check does the short form, 0610.
CRASHVERS = 4.2
crash: all
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' python3 -B $(srcdir)/tests/uml/uml.py \
	    --server-arg=--lease-time --server-arg=8 --timeout 1500 --set ROUNDS=50 --vers $(CRASHVERS) kernel_kill9.py
.PHONY: crash
