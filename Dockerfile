# The binary of `make dist` in an image: make dist && docker build -t rollcall .
# Nothing is compiled here, so the image has what the tarball has.
FROM debian:bookworm-slim
# For calls to other systems over TLS.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /data rollcall \
 && install -d -o rollcall -g rollcall -m 0700 /data
ADD dist/rollcall-*.tar.gz /opt/
RUN mv /opt/rollcall-* /opt/rollcall
ENV ROLLCALL__DATA__DIR=/data \
    ROLLCALL__DATABASE__URL=sqlite:///data/rollcall.db \
    ROLLCALL__SERVER__LISTEN=0.0.0.0:8080
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["/opt/rollcall/rollcall", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/rollcall/rollcall"]
CMD ["serve"]
