# syntax=docker/dockerfile:1.2
FROM base:1

RUN apk add --no-cache --no-progress ca-certificates tzdata

ARG TARGETPLATFORM
COPY ./dist/$TARGETPLATFORM/proxy /

EXPOSE 80
VOLUME ["/tmp"]

ENTRYPOINT ["/proxy"]
