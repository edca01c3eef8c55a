// Package servicestest gives tests real servers: Redis, PostgreSQL, MariaDB and Apache Kafka.
//
// Redis, Postgres, MariaDB and Kafka hand out the shared servers that `make test` starts before the tests and stops
// after them. They say where those are in NEARCACHE_TEST_REDIS, NEARCACHE_TEST_POSTGRES, NEARCACHE_TEST_MARIADB and
// NEARCACHE_TEST_KAFKA; a test that finds its variable unset skips, and `make test` fails if any test skipped for that
// reason. To run single tests by hand, once
//
//	make services-up
//	eval "$(make -s services-env)"
//
// and then go test as usual.
//
// StartRedis, StartPostgres, StartMariaDB and StartKafka start a server of the test's own, for tests that kill, pause,
// fill or configure it. They need the program to be installed, not the environment.
//
// All of it may be called from tests that run in parallel. A shared server has the data of other tests in it, and
// other tests come and go on it: use a prefix and a topic of the test's own (Unique), and start a server for whatever
// changes the whole of one (FLUSHALL, CONFIG SET, maxmemory). In a shared PostgreSQL an open transaction of any test
// holds back the xmin of all databases.
package servicestest
