# crash: long walks of kills; make check does short forms of both (0610, 0620). `make crash`: the server is killed 50 times
# under a real Linux client.
CRASHVERS = 4.2
crash: all
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' python3 -B $(srcdir)/tests/uml/uml.py \
	    --server-arg=--lease-time --server-arg=8 --timeout 1500 --set ROUNDS=50 --vers $(CRASHVERS) kernel_kill9.py
.PHONY: crash

# powercut: the same writers while the power of the server's machine (a guest with an ext4 disk) is cut 30 times.
powercut: all
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' python3 -B $(srcdir)/tests/uml/uml.py --power \
	    --server-arg=--lease-time --server-arg=8 --timeout 1500 --set ROUNDS=30 --vers $(CRASHVERS) kernel_kill9.py
.PHONY: powercut
