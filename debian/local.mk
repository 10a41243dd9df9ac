# debian: `make deb` leaves the packages in deb/ of the build folder; `make check-deb`, as root, installs, uses and
# purges them in a Debian tree of its own (made by debootstrap, or a copy of DEB_TREE).
EXTRA_DIST += debian/build debian/changelog debian/check debian/control debian/copyright debian/rules \
    debian/volnfs-server.postinst debian/volnfs-server.postrm debian/volnfs-server.prerm
deb:
	$(top_srcdir)/debian/build $(top_srcdir) $(top_builddir)
check-deb: deb
	$(top_srcdir)/debian/check $(top_builddir)/deb
clean-local:
	test -z "$(top_builddir)" || rm -rf '$(abs_top_builddir)/deb'
.PHONY: deb check-deb
