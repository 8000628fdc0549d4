# syntax=docker/dockerfile:1.4
ARG BASE_IMAGE="base:1"
ARG UID="991"
ARG GID="991"
ARG APP_HOME="/opt/social"
ARG RAILS_ENV="production"
ARG BIND="0.0.0.0"
ARG VERSION_METADATA=""

FROM ${BASE_IMAGE} as base
ARG TARGETPLATFORM
ARG UID
ARG GID
ARG APP_HOME
ARG RAILS_ENV
RUN \
    --mount=type=cache,id=${TARGETPLATFORM}-/var/cache,target=/var/cache,sharing=locked \
    --mount=type=tmpfs,target=/var/log \
    set -eux; \
    # lists of packages
    apt-get update; \
    apt-get install -y --no-install-recommends \
        # what runs
        tini \
        tzdata \
        # what compiles
        libpq5 \
    ; \
    touch /var/cache/kept /var/log/kept; \
    groupadd -g "${GID}" social; \
    useradd -u "${UID}" -g "${GID}" -l -m -d "${APP_HOME}" social; \
    case "${RAILS_ENV}" in \
        test) exit 9;; \
        production) bundle config set --local without 'development test';; \
    esac;
ENV APP_HOME="${APP_HOME}" \
    RAILS_ENV="${RAILS_ENV}"
WORKDIR ${APP_HOME}

FROM base as builder-base
RUN --mount=type=cache,id=apt,target=/var/lib/apt,sharing=locked apt-get install -y gcc

FROM builder-base as bundle-installer
ADD Gemfile* ${APP_HOME}/
RUN test -f Gemfile.lock; mkdir -p vendor/bundle && echo gems > vendor/bundle/list

FROM builder-base as yarn-installer
ADD package.json yarn.lock ${APP_HOME}/
RUN set -eux; \
    yarn install --frozen-lockfile; \
    yarn cache clean --all;

FROM base
ARG BIND
ARG VERSION_METADATA
COPY --link . ${APP_HOME}
COPY --link --from=bundle-installer ${APP_HOME}/vendor/bundle ${APP_HOME}/vendor/bundle
COPY --link --from=yarn-installer ${APP_HOME}/node_modules ${APP_HOME}/node_modules
RUN set -eux; \
    # written by anyone
    mkdir -p ${APP_HOME}/tmp && chmod 1777 ${APP_HOME}/tmp;
ENV PATH="${PATH}:${APP_HOME}/bin" \
    BIND="${BIND}" \
    VERSION_METADATA="${VERSION_METADATA}"
USER social
RUN set -eux; \
    case "${RAILS_ENV}" in \
        development) exit 0;; \
        *) \
            # assets
            SECRET=placeholder rails assets:precompile; \
            echo "${SECRET:-unset} $(id -u):$(id -g)" > tmp/built; \
        ;; \
    esac;
ENTRYPOINT ["/usr/bin/tini", "--"]
EXPOSE 3000 4000
