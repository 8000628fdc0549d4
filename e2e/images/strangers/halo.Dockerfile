ARG HALO_VERSION=2.3.1
FROM base:1 AS build
ARG HALO_VERSION
RUN echo this must not run
ADD --keep-git-dir=true https://example.com/site/halo.git#v$HALO_VERSION /app
WORKDIR /app
RUN make
FROM base
COPY --from=build /app/out /out
