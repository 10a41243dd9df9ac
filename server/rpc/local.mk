noinst_LIBRARIES += librpc.a
librpc_a_SOURCES = \
    server/rpc/awake.c server/rpc/awake.h \
    server/rpc/conn.c server/rpc/conn_recv.c server/rpc/conn.h \
    server/rpc/conncall.c server/rpc/connect.c \
    server/rpc/listener.c server/rpc/listener.h \
    server/rpc/loop.c server/rpc/loop.h \
    server/rpc/rbuf.c server/rpc/rbuf.h \
    server/rpc/request.c server/rpc/request.h \
    server/rpc/peer.c server/rpc/peer.h \
    server/rpc/report.c \
    server/rpc/rpcmsg.c server/rpc/rpcmsg.h \
    server/rpc/rpcserver.c server/rpc/rpcserver.h server/rpc/rpcserver_priv.h \
    server/rpc/worker.c server/rpc/worker.h
