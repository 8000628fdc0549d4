# syntax=docker/dockerfile:1.4
ARG EXTRAS="async,celery,http"
ARG ADDITIONAL_DEPS=""
ARG FLOW_HOME=/opt/flow
ARG FLOW_UID="50000"
ARG FLOW_USER_HOME_DIR=/home/flow
ARG FLOW_VERSION="3.3.0"
ARG BASE_IMAGE="base:1-slim"
ARG SOURCES_FROM="Dockerfile"
ARG SOURCES_TO="/Dockerfile"

FROM scratch as scripts

COPY <<"EOF" /install_deps.sh
#!/usr/bin/env bash
set -eu

if [[ "$#" != 1 ]]; then
    echo "ERROR! ${0}"
    exit 1
fi
MAJOR=${FLOW_VERSION%%.*}
DEPS="\
apt-utils \
git \
"
echo "${1} ${MAJOR} ${DEPS}" >> /installed
EOF

COPY <<"EOF" /entrypoint.sh
#!/usr/bin/env bash
exec "${@}"
EOF

FROM ${BASE_IMAGE} as build-image
SHELL ["/bin/bash", "-o", "pipefail", "-o", "errexit", "-c"]
ARG FLOW_VERSION
ENV FLOW_VERSION=${FLOW_VERSION} \
    DEBIAN_FRONTEND=noninteractive LANGUAGE=C.UTF-8
COPY --from=scripts install_deps.sh /scripts/docker/
RUN bash /scripts/docker/install_deps.sh dev
ARG FLOW_HOME
ARG EXTRAS
ARG ADDITIONAL_DEPS
ENV EXTRAS=${EXTRAS}${ADDITIONAL_DEPS:+,}${ADDITIONAL_DEPS}
ARG SOURCES_FROM
ARG SOURCES_TO
COPY ${SOURCES_FROM} ${SOURCES_TO}

FROM ${BASE_IMAGE} as main
SHELL ["/bin/bash", "-o", "pipefail", "-o", "errexit", "-c"]
ARG FLOW_UID
ARG FLOW_USER_HOME_DIR
ARG FLOW_HOME
ENV FLOW_UID=${FLOW_UID} FLOW_HOME=${FLOW_HOME}
RUN adduser --gecos "First Last" --uid "${FLOW_UID}" --gid "0" \
    --home "${FLOW_USER_HOME_DIR}" flow \
    && mkdir -pv ${FLOW_HOME}/dags && chown -R "flow:0" ${FLOW_HOME} "${FLOW_HOME}/dags" \
    && find "${FLOW_HOME}" -type d -exec chmod g+w {} \;
COPY --from=build-image --chown=flow:0 "/installed" "${FLOW_HOME}/installed"
COPY --from=build-image --chown=flow:0 /Dockerfile /Dockerfile
COPY --from=scripts entrypoint.sh /entrypoint
RUN chmod a+rx /entrypoint
WORKDIR ${FLOW_HOME}
EXPOSE 8080
USER ${FLOW_UID}
ARG BUILD_ID
LABEL org.example.distro="debian" \
  org.example.uid="${FLOW_UID}" \
  org.example.build.id="${BUILD_ID}" \
  org.example.title="Production Image"
ENTRYPOINT ["/usr/bin/dumb-init", "--", "/entrypoint"]
CMD []
