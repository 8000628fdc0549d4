ARG CUDA_VERSION=12.8.1
ARG PYTHON_VERSION=3.12
ARG BUILD_BASE_IMAGE=base:1-slim
ARG FINAL_BASE_IMAGE=base:1
ARG MIRROR_URL
ARG INDEX_URL
ARG UV_INDEX_URL=${INDEX_URL}
ARG KEYRING=disabled
ARG UV_KEYRING=${KEYRING}

FROM ${BUILD_BASE_IMAGE} AS base
ARG CUDA_VERSION
ARG PYTHON_VERSION
ARG TARGETPLATFORM
ARG MIRROR_URL
RUN echo 'tzdata tzdata/Areas select America' | debconf-set-selections \
    && apt-get update -y \
    && if [ ! -z ${MIRROR_URL} ] ; then \
        exit 1 ; \
    else \
        for i in 1 2 3; do \
            true && break || \
            { echo "Attempt $i failed"; sleep 5; }; \
        done ; \
    fi \
    && ln -sf /usr/bin/python${PYTHON_VERSION}-config /usr/bin/python3-config

ARG INDEX_URL UV_INDEX_URL
ARG KEYRING UV_KEYRING
ENV UV_TIMEOUT=500
RUN <<EOF
echo "${UV_KEYRING} ${UV_INDEX_URL:-none}" > /index
EOF
RUN mkdir -p /usr/local/cuda-$(echo $CUDA_VERSION | cut -d. -f1,2)/compat/

WORKDIR /workspace
COPY requirements/common.txt requirements/common.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --system -r requirements/common.txt

ARG arch_list='7.0 7.5 8.0+PTX'
ENV ARCH_LIST=${arch_list}
ARG cmake_arches='80-real;90-real'
ENV CMAKE_ARCHES=${cmake_arches}

FROM base AS build
COPY . .
ARG REPO_CHECK=0
RUN --mount=type=bind,source=.git,target=.git \
    if [ "$REPO_CHECK" != "0" ]; then exit 1 ; fi; cat .git/HEAD
ARG max_jobs=2
ENV MAX_JOBS=${max_jobs}
RUN --mount=type=cache,target=/root/.cache/ccache \
    --mount=type=bind,source=.git,target=.git  \
    if [ "$USE_CACHE" != "1" ]; then \
        # away with what is there
        rm -rf .deps && \
        mkdir -p .deps dist && echo "$CUDA_VERSION $ARCH_LIST" > dist/a.whl; \
    fi

FROM base as dev
RUN exit 1

FROM ${FINAL_BASE_IMAGE} AS final-base
ARG CUDA_VERSION
WORKDIR /final
SHELL ["/bin/bash", "-c"]
RUN VERSION_STR=$(echo ${CUDA_VERSION} | sed 's/\.//g') && \
    echo "export VERSION_STR=${VERSION_STR}" >> /etc/environment
RUN --mount=type=bind,from=build,src=/workspace/dist,target=/final/dist \
    cat dist/*.whl > wheels
COPY --from=base /index /index

FROM final-base AS openai
ENV USAGE_SOURCE=production
ENTRYPOINT ["python3", "-m", "server"]
