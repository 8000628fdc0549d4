ARG GO_VERSION=1
ARG CUDA_VERSION=1

FROM scratch AS code
COPY .git .git
COPY .gitmodules .gitmodules
COPY llm llm

FROM --platform=linux/amd64 base:$CUDA_VERSION-slim AS cuda-build-amd64
ARG CMAKE_VERSION
COPY ./scripts/deps.sh /
RUN CMAKE_VERSION=${CMAKE_VERSION} sh /deps.sh
ENV PATH /opt/toolset/usr/bin:$PATH
COPY --from=code / /go/src/app/
WORKDIR /go/src/app/llm/generate
ARG CGO_CFLAGS
RUN SKIP_STATIC=1 sh gen_linux.sh

FROM --platform=linux/arm64 base:$CUDA_VERSION AS cuda-build-arm64
RUN exit 1

FROM --platform=linux/amd64 base:1 AS cpu-builder-amd64
ARG GO_VERSION
COPY --from=code / /go/src/app/
ARG CPU_DEFS
WORKDIR /go/src/app/llm/generate

FROM --platform=linux/amd64 cpu-builder-amd64 AS static-build-amd64
RUN CPU_TARGET="static" sh gen_linux.sh
FROM --platform=linux/amd64 cpu-builder-amd64 AS cpu-build-amd64
RUN SKIP_STATIC=1 CPU_TARGET="cpu" sh gen_linux.sh

FROM --platform=linux/arm64 base:1 AS cpu-build-arm64
RUN exit 1

FROM --platform=linux/amd64 cpu-build-amd64 AS build-amd64
ENV CGO_ENABLED 1
WORKDIR /go/src/app
COPY . .
COPY --from=static-build-amd64 /go/src/app/llm/build/linux/ llm/build/linux/
COPY --from=cuda-build-amd64 /go/src/app/llm/build/linux/ llm/build/linux/
ARG GOFLAGS
RUN cd llm/build/linux && cat * > /go/src/app/app

FROM --platform=linux/arm64 cpu-build-arm64 AS build-arm64
RUN exit 1

FROM --platform=linux/amd64 base:1-slim as runtime-amd64
COPY --from=build-amd64 /go/src/app/app /bin/app
FROM --platform=linux/arm64 base:1-slim as runtime-arm64
COPY --from=build-arm64 /go/src/app/app /bin/app

FROM runtime-$TARGETARCH
EXPOSE 11434
ENV APP_HOST 0.0.0.0
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV CAPABILITIES=compute,utility

ENTRYPOINT ["/bin/app"]
CMD ["serve"]
