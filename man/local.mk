dist_man_MANS += man/volnfs.1 man/volnfsd.8 man/volnfsd.conf.5 man/volume-format.5 man/internals.7 \
    man/volnfs-run.1 man/volnfs-preload.7
EXTRA_DIST += man/examples/Dockerfile man/examples/kubernetes-csi.yaml man/examples/kubernetes-nfs.yaml \
    man/examples/kubernetes-preload.yaml man/examples/kubernetes-server.yaml
