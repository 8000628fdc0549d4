# This makes a standard environment

FROM base:1
MAINTAINER  Somebody <somebody@example.com>

# (for the oldest machines)
ENV GOARM 5
ENV GOOS    linux

RUN go get example.com/tools/cover example.com/tools/godep

RUN mkdir -p /usr/local/src/store &&\
    cd /usr/local/src/store &&\
    curl -L -s https://example.com/store.tar.gz -o store &&\
    ln -s ../src/store/store /usr/local/bin/

# mark
RUN touch /build-image

WORKDIR /go/src/orchestrator

ADD version-defs /version-defs
ENV VERSION_FILE /version-defs

ENV OUTPUT_SUBPATH _output/dockerized

# the source
ADD source.tar.gz /go/src/orchestrator
ADD source.tar ./plain/
COPY source.tar /kept.tar
