# state: clients, sessions, opens, locks.
noinst_LIBRARIES += libstate.a
libstate_a_SOURCES = \
    server/state/callback.c server/state/callback.h \
    server/state/client.c server/state/client.h server/state/client40.c server/state/client41.c \
    server/state/client_record.c \
    server/state/deleg.c server/state/deleg.h \
    server/state/grace.c server/state/grace.h \
    server/state/internal.h \
    server/state/lockrange.c server/state/lockrange.h \
    server/state/lockstate.c \
    server/state/lockwait.c \
    server/state/openstate.c server/state/openstate.h \
    server/state/owner.c server/state/report.c server/state/report.h \
    server/state/session.c server/state/session.h \
    server/state/state.c server/state/state.h \
    server/state/stateid.c \
    server/state/user.c server/state/user.h
