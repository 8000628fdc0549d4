FROM        base:1
LABEL maintainer "The Authors <developers@example.com>"

COPY monitor                                /bin/monitor
COPY tool                                   /bin/tool
COPY documentation/examples/monitor.yml     /etc/monitor/monitor.yml
COPY console_libraries/                     /usr/share/monitor/console_libraries/
COPY consoles/                              /usr/share/monitor/consoles/

RUN ln -s /usr/share/monitor/console_libraries /usr/share/monitor/consoles/ /etc/monitor/ && \
    addgroup -g 1234 monitor && \
    adduser -s /bin/sh -S -H -u 1234 -G monitor monitor && \
    mkdir -p /monitor && \
    chown -R monitor:monitor /etc/monitor /monitor

EXPOSE     9090
VOLUME     [ "/monitor" ]
WORKDIR    /monitor
ENTRYPOINT [ "/bin/monitor" ]
USER       monitor
CMD        [ "-config.file=/etc/monitor/monitor.yml", \
             "-storage.local.path=/monitor", \
             "-web.console.libraries=/usr/share/monitor/console_libraries" ]
