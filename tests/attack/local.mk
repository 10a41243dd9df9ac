# attack: hostile clients against a private server, for ten minutes: make attack SECONDS=600. A short form is
# tests/system/0110-rpc-attack.t.
EXTRA_DIST += tests/attack/attack.py
SECONDS = 600
attack: volnfsd volnfs
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' python3 -B $(srcdir)/tests/attack/attack.py $(SECONDS)
.PHONY: attack
