# system: scripts that start a private server in a temporary folder; NNNN-kernel-* boot User-mode Linux.
SYSTEM_TESTS = \
    tests/system/0000-basics-layers.t \
    tests/system/0010-basics-volnfsd.t \
    tests/system/0020-basics-manual.t \
    tests/system/0030-basics-config.t \
    tests/system/0100-rpc-hostile.t \
    tests/system/0110-rpc-attack.t \
    tests/system/0200-session-exclusive.t \
    tests/system/0685-store-idle.t \
    tests/system/0700-shim-programs.t \
    tests/system/0701-shim-run.t \
    tests/system/0702-shim-calls.t \
    tests/system/0703-shim-user.t \
    tests/system/0704-shim-leaks.t \
    tests/system/0705-shim-killed.t \
    tests/system/0706-shim-races.t \
    tests/system/0707-shim-badmem.t \
    tests/system/0708-shim-tools.t \
    tests/system/0709-shim-trouble.t \
    tests/system/0710-client-cp.t \
    tests/system/0711-client-resume.t \
    tests/system/0720-shim-workflow.t \
    tests/system/0721-shim-moved.t \
    tests/system/0722-shim-manual.t \
    tests/system/0723-shim-doctor.t \
    tests/system/0730-shim-recovery.t \
    tests/system/0731-shim-recovery-copies.t \
    tests/system/0732-shim-recovery-expired.t \
    tests/system/0733-shim-recovery-ganesha.t \
    tests/system/0734-shim-agent.t \
    tests/system/0735-shim-room.t \
    tests/system/0736-shim-old-kernel.t \
    tests/system/0737-shim-stored.t \
    tests/system/0738-shim-told.t \
    tests/system/0739-shim-leftovers.t \
    tests/system/0740-shim-grace.t \
    tests/system/0800-admin-volnfs.t \
    tests/system/0810-admin-refusals.t \
    tests/system/0820-admin-completion.t \
    tests/system/0830-admin-page.t \
    tests/system/0840-admin-snapshots.t \
    tests/system/0845-admin-scrub.t \
    tests/system/0846-admin-repair.t \
    tests/system/0847-admin-dump.t \
    tests/system/0848-admin-dedup.t \
    tests/system/0849-admin-restore-killed.t \
    tests/system/0850-admin-reload.t \
    tests/system/0860-admin-privileges.t \
    tests/system/0870-admin-grants.t \
    tests/system/0871-admin-grants-attacks.t \
    tests/system/0872-admin-grants-shim.t \
    tests/system/0873-admin-grants-held.t \
    tests/system/0890-admin-readme.t \
    tests/system/0895-admin-space.t
KERNEL_TESTS = \
    tests/system/0400-kernel-workflow.t \
    tests/system/0410-kernel-names.t \
    tests/system/0420-kernel-posix.t \
    tests/system/0430-kernel-trees.t \
    tests/system/0440-kernel-two.t \
    tests/system/0450-kernel-restart.t \
    tests/system/0460-kernel-libnfs.t \
    tests/system/0470-kernel-deleg.t \
    tests/system/0470-kernel-sparse.t \
    tests/system/0480-kernel-shim.t \
    tests/system/0490-kernel-families.t \
    tests/system/0495-kernel-fight.t \
    tests/system/0600-kernel-store.t \
    tests/system/0610-kernel-kill9.t \
    tests/system/0620-kernel-powercut.t \
    tests/system/0630-kernel-snap.t \
    tests/system/0640-kernel-grants.t \
    tests/system/0650-kernel-readme.t
TESTS += $(SYSTEM_TESTS) $(KERNEL_TESTS)
EXTRA_DIST += $(SYSTEM_TESTS) $(KERNEL_TESTS) tests/lib/tap.sh tests/lib/tap.py tests/lib/nfswire.py tests/lib/servers.py tests/lib/summary.py \
    tests/uml/uml.py tests/uml/powered.py tests/uml/init.sh tests/uml/jobs tests/workflow/workflow.py tests/workflow/shim.py \
    tests/shim/libraries.sh tests/shim/programs.sh tests/shim/python.py
EXTRA_DIST += tests/grants/attacks.py tests/grants/held.py tests/grants/matrix.py tests/grants/wire.py
EXTRA_DIST += tests/shim/badmem.py tests/shim/graceful.py tests/shim/killed.py tests/shim/moved.py tests/shim/races.py tests/shim/recovery.py tests/shim/stored.py \
    tests/shim/told.py
