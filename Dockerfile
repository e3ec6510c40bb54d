# The server's image: the static binary and nothing else. `make image` builds the binary on this machine, since no base
# image or registry can be assumed, and then this:
#
#   docker build --build-arg BINARY=target/x86_64-unknown-linux-gnu/release/agentainer --tag agentainer:latest .
#
# It needs Docker's socket, a Redis (AGENTAINER_REDIS_HOST: the image has no redis-server of its own) and a volume for
# its data; manifests/docker-compose.yml has all three.
FROM scratch
ARG BINARY
# Without this file the C library asks DNS alone, and names of /etc/hosts are not found.
COPY manifests/nsswitch.conf /etc/nsswitch.conf
COPY ${BINARY} /usr/local/bin/agentainer
ENV PATH=/usr/local/bin
ENV AGENTAINER_DATA_DIR=/var/lib/agentainer
VOLUME /var/lib/agentainer
EXPOSE 8081
ENTRYPOINT ["/usr/local/bin/agentainer"]
CMD ["serve"]
