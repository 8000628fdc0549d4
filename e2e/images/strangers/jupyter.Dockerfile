ARG ROOT_CONTAINER=base:1-slim

FROM $ROOT_CONTAINER

LABEL maintainer="Notebook Project <notebook@example.com>"
ARG NB_USER="joe"
ARG NB_UID="1200"
ARG NB_GID="100"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

USER root

ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update --yes && \
    # - patched
    #   since it is old
    apt-get install --yes --no-install-recommends \
    # - to unpack
    bzip2 \
    tini && \
    echo "C.UTF-8 UTF-8" >> /etc/locale.gen && \
    locale-gen

ENV CONDA_DIR=/opt/conda \
    SHELL=/bin/bash \
    NB_USER="${NB_USER}" \
    NB_UID=${NB_UID} \
    NB_GID=${NB_GID}
ENV PATH="${CONDA_DIR}/bin:${PATH}" \
    HOME="/home/${NB_USER}"

COPY fix-permissions /usr/local/bin/fix-permissions
RUN chmod a+rx /usr/local/bin/fix-permissions

RUN mkdir -p /etc/pam.d && echo "auth requisite pam_deny.so" >> /etc/pam.d/su && \
    useradd --no-log-init --create-home --shell /bin/bash --uid "${NB_UID}" --gid "${NB_GID}" "${NB_USER}" && \
    mkdir -p "${CONDA_DIR}" && \
    chown "${NB_USER}:${NB_GID}" "${CONDA_DIR}" && \
    chmod g+w /etc/passwd && \
    fix-permissions "/home/${NB_USER}"

USER ${NB_UID}

ARG PYTHON_VERSION=3.11

RUN mkdir "/home/${NB_USER}/work" && \
    fix-permissions "/home/${NB_USER}"

COPY --chown="${NB_UID}:${NB_GID}" initial-rc "${CONDA_DIR}/.rc"
WORKDIR /tmp
RUN set -x && \
    arch=$(uname -m) && \
    if [ "${arch}" = "x86_64" ]; then \
        # simpler
        arch="64"; \
    fi && \
    SPECIFIER="python=${PYTHON_VERSION}" && \
    if [[ "${PYTHON_VERSION}" == "default" ]]; then SPECIFIER="python"; fi && \
    echo "linux-${arch} ${SPECIFIER}" | tr -s ' ' | sed 's/\.[^.]*$/.*/' >> "${CONDA_DIR}/pinned"

COPY run-hooks.sh start.sh /usr/local/bin/

ENTRYPOINT ["tini", "-g", "--", "start.sh"]

USER root

RUN mkdir /usr/local/bin/start.d && \
    mkdir /usr/local/bin/before.d

COPY 10activate.sh /usr/local/bin/before.d/

USER ${NB_UID}

WORKDIR "${HOME}"
