# proto: what goes over the wire. *_gen.[ch] are made by rpcgen and compiled with warnings off.
PROTO_GEN = proto/nfs4_gen.h proto/nfs4_gen.c proto/control_gen.h proto/control_gen.c
BUILT_SOURCES += $(PROTO_GEN)
CLEANFILES += $(PROTO_GEN)
EXTRA_DIST += proto/nfs4.x proto/control.x

# rpcgen names the header after its input, so it runs on a copy called NAME_gen.x.
SUFFIXES = .x
proto/%_gen.h: $(top_srcdir)/proto/%.x
	@mkdir -p proto
	$(AM_V_GEN)cp $< proto/$*_gen.x && chmod u+w proto/$*_gen.x && rm -f $@ && \
	    $(RPCGEN) -M -h -o $@ proto/$*_gen.x && rm -f proto/$*_gen.x
proto/%_gen.c: $(top_srcdir)/proto/%.x proto/%_gen.h
	$(AM_V_GEN)cp $< proto/$*_gen.x && chmod u+w proto/$*_gen.x && rm -f $@ && \
	    $(RPCGEN) -M -c -o $@ proto/$*_gen.x && rm -f proto/$*_gen.x

noinst_LIBRARIES += libprotogen.a libproto.a
nodist_libprotogen_a_SOURCES = $(PROTO_GEN)
libprotogen_a_CFLAGS = -std=gnu11 -O2 -g -w $(SAN_CFLAGS) -pthread
libproto_a_SOURCES = proto/order.c proto/order.h proto/props.c proto/props.h proto/xdrbuf.c proto/xdrbuf.h proto/xdrnfs.c proto/xdrnfs.h \
    proto/xdrout.c proto/xdrout.h
PROTO_LIBS = libprotogen.a libproto.a $(TIRPC_LIBS)
