# syntax=docker/dockerfile:1-labs
FROM base:1 AS packages
RUN dnf install -y zfs-fuse zstd && rm -rf /var/cache/dnf

FROM packages AS image
RUN --security=insecure zfs-fuse & \
dd if=/dev/zero of=/tmp/zfs.img bs=16M count=4 && \
sleep 1
