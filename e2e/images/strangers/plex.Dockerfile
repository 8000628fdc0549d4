FROM base:1-slim
MAINTAINER Somebody, somebodyelse

# package version
ARG MEDIA_WWW="https://media.example.com/downloads/1?channel=8&build=linux-x86_64&distro=base"

# global settings
ENV DEBIAN_FRONTEND="noninteractive"
ENV HOME="/config"

# install packages
RUN \
 apt-get update && \
 apt-get install -y \
	avahi-daemon \
	dbus && \

# cleanup
 apt-get clean && \
 rm -rf /tmp/* /var/lib/apt/lists/*

# install it
RUN \
 curl -o \
	/opt/mediaserver -L \
	"${MEDIA_WWW}" && \
	echo "${MEDIA_WWW}" > /opt/url

# add local files
COPY root/ /

# ports and volumes
VOLUME /config
EXPOSE 32400 32400/udp 32469 5353/udp 1900-1901/udp
