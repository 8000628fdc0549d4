ARG BUILD_FROM
FROM ${BUILD_FROM}

# As long as the program waits
ENV \
    GRACETIME=240000 \
    EXTRA_INDEX_URL="https://wheels.example.com/index/" \
    NO_CACHE=true

ARG CPU

WORKDIR /usr/src

## What it needs
COPY requirements.txt home/
COPY home/constraints.txt home/home/
RUN pip3 install uv
RUN \
    uv pip install \
        --system \
        -r home/requirements.txt

COPY requirements_all.txt frontend-* intents-* home/
RUN \
    if ls home/frontend*.whl 1> /dev/null 2>&1; then \
        echo frontend >> home/wheels; \
    fi \
    && if ls home/intents*.whl 1> /dev/null 2>&1; then \
        echo intents >> home/wheels; \
    fi \
    && if [ "${BUILD_ARCH}" = "i386" ]; then \
        exit 1; \
    else \
        CONF="background_thread:true,metadata_thp:auto" \
        uv pip install -r home/requirements_all.txt; \
    fi

COPY . home/
RUN \
    uv pip install \
        #--no-build \
        -e ./home \
    && python3 -m compileall \
        home/home

# services
COPY rootfs /

WORKDIR /config
