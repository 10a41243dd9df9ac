# control: the administration interface on the store's Unix socket.
noinst_LIBRARIES += libcontrol.a
libcontrol_a_SOURCES = server/control/control.c server/control/control.h
