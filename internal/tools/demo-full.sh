#!/bin/sh
# Runs the demo as production would: `make demo-full`. The services are started around it. Ctrl-C stops everything.
# demo-full.sh BUILD [COMMAND ...]
set -eu
build=$1
# Only what was started for the demo: not what the shell's own variables lead to.
export DATABASE_URL="$NEARCACHE_TEST_POSTGRES" REDIS_URL="redis://$NEARCACHE_TEST_REDIS" KAFKA_BOOTSTRAP_SERVERS="$NEARCACHE_TEST_KAFKA"
unset REDIS_HOST REDIS_PORT KAFKA_SECURITY_PROTOCOL KAFKA_SASL_MECHANISM KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD
unset KAFKA_SSL_CA_FILE KAFKA_SSL_CERT_FILE KAFKA_SSL_KEY_FILE NATS_URL NATS_USER NATS_PASSWORD NATS_CREDS NATS_CA NATS_CERT NATS_KEY
first=${FIRST_PORT:-8081}
dir=$(mktemp -d)
pids=
stop() {
	trap - EXIT INT TERM
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$pids" ] || kill $pids 2>/dev/null || true
	wait
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 0' INT TERM
export RELAY=false SHUTDOWN_DELAY_MS=0 CACHE_MAX_STALENESS_MS="${CACHE_MAX_STALENESS_MS:-250}" HEARTBEAT_MS=25 SEED_PRODUCTS=1000 AUDIT_READS_PER_SECOND=5
start() { # start PROGRAM PORT
	# Prometheus reads a server at its address for operators.
	LISTEN_ADDR=127.0.0.1:$2 ADMIN_LISTEN_ADDR=127.0.0.1:$(($2 + 20)) "$build/$1" >"$dir/$1-$2.log" 2>&1 &
	pids="$pids $!"
	n=0
	until curl -sS --fail -o /dev/null "http://127.0.0.1:$2/readyz" 2>/dev/null; do
		n=$((n + 1))
		if [ $n -ge 240 ] || ! kill -0 $! 2>/dev/null; then
			echo "demo-full: $1 on port $2 is not ready:" >&2
			tail -20 "$dir/$1-$2.log" >&2
			exit 1
		fi
		sleep 0.25
	done
	echo "$1: http://127.0.0.1:$2"
}
start outbox-relay $((first + 9))
start product-server "$first"
start product-server $((first + 1))
start product-server $((first + 2))
start invalidation-worker $((first + 10))
if command -v prometheus >/dev/null 2>&1; then
	cat >"$dir/prometheus.yml" <<PROMETHEUS
global: {scrape_interval: 5s}
rule_files: [$PWD/docs/operations/rules.yml, $PWD/docs/operations/alerts/audit.yml]
scrape_configs:
  - job_name: nearcache
    static_configs:
      - targets: [127.0.0.1:$((first + 20)), 127.0.0.1:$((first + 21)), 127.0.0.1:$((first + 22)), 127.0.0.1:$((first + 9)), 127.0.0.1:$((first + 10))]
PROMETHEUS
	prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" \
		--web.listen-address=127.0.0.1:$((first + 19)) --log.level=warn >"$dir/prometheus.log" 2>&1 &
	pids="$pids $!"
	echo "prometheus: http://127.0.0.1:$((first + 19))"
else
	echo "prometheus is not installed: the metrics are at /metrics of each program"
fi
# A command that is given runs beside the fleet, and ends it.
if [ $# -gt 1 ]; then
	shift
	"$@" --servers "http://127.0.0.1:$first,http://127.0.0.1:$((first + 1)),http://127.0.0.1:$((first + 2))" \
		--prometheus "http://127.0.0.1:$((first + 19))" --redis "$REDIS_URL" --database "$DATABASE_URL"
	exit
fi
cat <<HELP

A write on one server, and the reads of another:
  curl -X PUT http://127.0.0.1:$first/products/lamp -d '{"name":"Desk Lamp","price":49.90}'
  curl -i http://127.0.0.1:$((first + 2))/products/lamp
What the records in Redis look like beside the rows:
  DATABASE_URL='$DATABASE_URL' REDIS_URL='$REDIS_URL' \\
    $build/nearcache audit product --query 'select id, name from products'
Ctrl-C stops everything.
HELP
wait
