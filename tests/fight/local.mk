# fight: `make fight` lets two Linux guests and three raw clients fight over the same files while the server is killed and
# restarted once a minute; `make fight FIGHTSECONDS=60 FIGHTSEED=7` for another length, or to see something again (the
# order of what the guests do follows from the seed, who is first does not). make check does the short form, 0495.
# In a build with a sanitizer it is that server that is fought over.
FIGHTSECONDS = 600
FIGHTPERIOD = 60
FIGHTSEED = $$(date +%s)
FIGHTMEMORY = 10240
EXTRA_DIST += tests/fight/beside.py tests/fight/run tests/fight/tsan.supp
fight: volnfsd volnfs
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' $(SHELL) $(srcdir)/tests/fight/run \
	    $(FIGHTSECONDS) $(FIGHTSEED) $(FIGHTPERIOD) $(FIGHTMEMORY)
.PHONY: fight
