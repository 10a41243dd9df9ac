# control: the administration interface on the store's Unix socket, and what it and the status page report.
noinst_LIBRARIES += libcontrol.a
libcontrol_a_SOURCES = \
    server/control/control.c server/control/control.h server/control/control_impl.h \
    server/control/control_dump.c server/control/control_grant.c server/control/control_snap.c server/control/control_status.c \
    server/control/control_store.c \
    server/control/report.c server/control/report.h
