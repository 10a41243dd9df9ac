# web: the metrics and the status page over HTTP.
noinst_LIBRARIES += libweb.a
libweb_a_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
libweb_a_SOURCES = \
    server/web/chart.c server/web/chart.h \
    server/web/page.c server/web/pages.h server/web/prom.c server/web/style.c \
    server/web/text.c server/web/text.h \
    server/web/web.c server/web/web.h
