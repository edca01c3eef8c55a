#!/bin/sh
# Installs what the tests need beside Go, where it is missing: a C compiler (for the race detector), Redis,
# PostgreSQL and PgBouncer, MariaDB, Java and Maven for Kafka, curl, Chromium for the demo's pages, and Python. Does
# nothing, quickly, when all of it is there.
set -eu

# A server that the environment names is used instead of one started here.
packages=
need() { # need PACKAGE PROGRAM...: one of the programs will do
	package=$1
	shift
	for program; do
		if command -v "$program" >/dev/null 2>&1; then return; fi
	done
	packages="$packages $package"
}
need gcc "$(go env CC)" gcc clang
if [ -z "${NEARCACHE_TEST_REDIS:-}" ]; then need redis-server redis-server; fi
if [ -z "${NEARCACHE_TEST_POSTGRES:-}" ]; then need postgresql initdb /usr/lib/postgresql/*/bin/initdb; fi
if [ -z "${NEARCACHE_TEST_MARIADB:-}" ]; then
	need mariadb-server-core mariadbd /usr/sbin/mariadbd
fi
need pgbouncer pgbouncer /usr/sbin/pgbouncer
need curl curl
need chromium chromium chromium-browser google-chrome
need prometheus promtool # which checks and tests the alerts
# Another team's programs are Python. Their packages go into a folder of this tree (make test).
if [ -z "${NEARCACHE_TEST_PYTHON:-}" ]; then
	need python3 python3
	python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
fi
if [ -z "${NEARCACHE_TEST_KAFKA:-}" ]; then
	need default-jre-headless java
	if [ ! -d .services/kafka ]; then need maven mvn; fi
fi
# A compiler without the C library's headers compiles nothing, and apt only suggests them.
case $packages in *gcc*) packages="$packages libc6-dev" ;; esac
if [ -z "$packages" ]; then exit 0; fi

give_up() {
	echo "make: missing:$packages" >&2
	echo "make: $1; install the Debian packages$packages (or what they are called here) and try again" >&2
	exit 1
}
command -v apt-get >/dev/null 2>&1 || give_up "this is not Debian"
[ "$(id -u)" = 0 ] || give_up "this is not root"

# Debian starts a server when it is installed. The tests start their own; nothing else is wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 130' INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
echo "installing$packages" >&2
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is words
if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1 </dev/null; then
	tail -20 "$log" >&2
	rm -f "$log"
	give_up "apt-get could not install them"
fi
rm -f "$log"
