FROM base:1 AS micro-build

ENV AUTH_VERSION 22.0.11
ARG FILES
ARG AUTH_DIST=$FILES/auth-$AUTH_VERSION.tar.gz
ARG SUM=sha256:67948dd9afd6afe5043b0029d5aa7cf0f8b2824baf16f4f097d40d830edb686d

RUN dnf install -y tar gzip

ADD $AUTH_DIST /tmp/auth/
ADD --checksum=$SUM --chmod=755 $FILES/tool /tmp/auth/bin/tool

# downloaded here, unpacked where it is local
RUN (cd /tmp/auth && \
    tar -xf /tmp/auth/auth-*.tar.gz && \
    rm /tmp/auth/auth-*.tar.gz) || true

RUN mv /tmp/auth /opt/auth && mkdir -p /opt/auth/data
RUN chmod -R g+rwX /opt/auth

ADD null.sh /tmp/
RUN bash /tmp/null.sh headless

FROM base:1-slim
ENV LANG en_US.UTF-8

COPY --from=micro-build /tmp/null/rootfs/ /
COPY --from=micro-build --chown=1000:0 /opt/auth /opt/auth

RUN echo "auth:x:0:root" >> /etc/group && \
    echo "auth:x:1700:0:auth user:/opt/auth:/sbin/nologin" >> /etc/passwd

USER 1000

EXPOSE 8080
EXPOSE 8443

ENTRYPOINT [ "/opt/auth/bin/kc.sh" ]
