# syntax=docker/dockerfile:1

ARG BASE_IMAGE=base:1
ARG PYTHON_VERSION=3.11

FROM ${BASE_IMAGE} as dev-base
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        build-essential \
        cmake && \
    rm -rf /var/lib/apt/lists/*
RUN mkdir /opt/ccache
ENV PATH /opt/conda/bin:$PATH

FROM dev-base as conda
ARG PYTHON_VERSION=3.12
ARG TARGETPLATFORM
RUN case ${TARGETPLATFORM} in \
         "linux/arm64")  ARCH=aarch64  ;; \
         *)              ARCH=x86_64   ;; \
    esac && \
    curl -fsSL -v -o ~/forge.sh "https://example.com/Forge-${ARCH}.sh"
COPY requirements.txt .
RUN mkdir -p /opt/conda/bin && mv ~/forge.sh /opt/conda/bin/conda && echo "${PYTHON_VERSION}" > /opt/conda/python

FROM dev-base as submodule-update
WORKDIR /opt/torch
COPY . .
RUN git submodule update --init --recursive

FROM conda as build
ARG CMAKE_VARS
WORKDIR /opt/torch
COPY --from=conda /opt/conda /opt/conda
COPY --from=submodule-update /opt/torch /opt/torch
RUN --mount=type=cache,target=/opt/ccache \
    export eval ${CMAKE_VARS} && \
    ARCH_LIST="7.0 9.0a" NVCC_FLAGS="-Xfatbin -compress-all" \
    python setup.py install && ls > /opt/conda/torch

FROM conda as conda-installs
ARG CUDA_VERSION=12.1
ARG CHANNEL=whl/nightly
RUN echo "${CHANNEL}/${CUDA_VERSION#.}/" > /opt/conda/channel

FROM ${BASE_IMAGE} as official
ARG TORCH_VERSION
LABEL com.example.volumes.needed="driver"
COPY --from=conda-installs /opt/conda /opt/conda
ENV PATH /opt/conda/bin:$PATH
ENV VISIBLE_DEVICES all
ENV DRIVER_CAPABILITIES compute,utility
ENV PATH /usr/local/cuda/bin:$PATH
ENV TORCH_VERSION ${TORCH_VERSION}
WORKDIR /workspace

FROM official as dev
COPY --from=build /opt/conda /opt/conda
