// SPDX-License-Identifier: MIT
/*
 * test_allocations.c - each allocation fails once, and all behind it: configurations, users,
 * answers of the control socket, the status page, quotas.
 *
 * What is tested ends with an error or is as whole as ever, nothing stays allocated, and the next
 * time it works. Without CULVERT_LONG long sweeps take steps.
 */
#include "failing_allocations.h"

#include "config_text.h"
#include "tls_identity.h"

#include "base/log.h"
#include "config/users_file.h"
#include "control/status_report.h"
#include "control/usage_file.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE"
#define UUID_A "b831381d-6324-4d53-ad4f-8cda48b30811"
#define UUID_B "b831381d-6324-4d53-ad4f-8cda48b30812"
/* system roots would be 100 000 allocations */
#define ROOTS \
	"\"tlsSettings\": {\"disableSystemRoot\": true, \"certificates\": [{\"usage\": " \
	"\"verify\", \"certificateFile\": \"root.pem\"}]}"
#define HASH \
	"$6$rounds=1000$saltsalt$7S6OZma2y1VlNlrtWtqNBfvJbuBpimUwa/4O6Bvw3a/oP3V6Y9XBCWkI" \
	"O2TOriqwZ0OjvWGbvoD2ktR21buYa/"

/* json-c loses its copy of a key when there is no memory for the member. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:json_object_object_add_ex\n";
}

static char directory[] = "/tmp/culvert-test-XXXXXX";

static const char *const files[][2] = {
	{"users.json", "{\"users\": [{\"username\": \"carol\", \"uuid\": \"" UUID_B "\", "
		       "\"shortId\": \"0a0b\", \"socks_password\": \"" HASH "\", "
		       "\"external_proxy_id\": \"proxy-1\"}]}"},
	{"external_proxy.json",
	 "{\"enabled\": true, \"routing\": {\"mode\": \"selective\"}, \"proxies\": [{\"id\": "
	 "\"proxy-1\", \"type\": \"socks5s\", \"address\": \"up.test\", \"port\": 1080, "
	 "\"username\": \"me\", \"password\": \"secret\", \"tls\": {\"ca_file\": \"root.pem\"}, "
	 "\"enabled\": true}]}"},
	{"config.json",
	 "{\"log\": {\"loglevel\": \"none\"}, \"culvert\": {\"status\": {\"password\": \"" HASH
	 "\"}, \"externalProxyFile\": \"external_proxy.json\", \"stateDirectory\": \"\"},\n"
	 "\"policy\": {\"levels\": {\"0\": {\"handshake\": 5, \"connIdle\": 100}}},\n"
	 "\"inbounds\": [\n"
	 "{\"tag\": \"front\", \"port\": 443, \"protocol\": \"edge\"},\n"
	 "{\"tag\": \"reality\", \"listen\": \"none\", \"protocol\": \"vless\", \"settings\": {"
	 "\"decryption\": \"none\", \"usersFile\": \"users.json\", \"clients\": [{\"id\": \"" UUID_A
	 "\", \"email\": \"alice@x\", \"quotaBytes\": 1000, \"maxSessions\": 3}]}, "
	 "\"streamSettings\": {\"security\": \"reality\", \"realitySettings\": {\"target\": "
	 "\"a.test:443\", \"serverNames\": [\"a.test\", \"b.test\"], \"privateKey\": \"" KEY
	 "\", \"shortIds\": [\"00\"]}}, \"sniffing\": {\"enabled\": true, \"destOverride\": "
	 "[\"http\", \"tls\"]}},\n"
	 "{\"tag\": \"web\", \"port\": 444, \"protocol\": \"vless\", \"settings\": {"
	 "\"decryption\": \"none\", \"clients\": [{\"id\": \"" UUID_A "\"}], \"fallbacks\": ["
	 "{\"dest\": 80}, {\"name\": \"a.test\", \"path\": \"/x\", \"dest\": \"/run/x\"}]}, "
	 "\"streamSettings\": {\"network\": \"ws\", \"wsSettings\": {\"path\": \"/p\"}, "
	 "\"security\": \"tls\", \"tlsSettings\": {\"certificates\": [{\"certificateFile\": "
	 "\"combined.pem\"}]}}},\n"
	 "{\"tag\": \"vmess\", \"port\": 445, \"protocol\": \"vmess\", \"settings\": {\"clients\": "
	 "[{\"id\": \"" UUID_A "\"}]}},\n"
	 "{\"tag\": \"socks\", \"port\": 1080, \"protocol\": \"socks\", \"settings\": {\"auth\": "
	 "\"password\", \"usersFile\": \"users.json\", \"accounts\": [{\"user\": \"bob\", "
	 "\"pass\": \"" HASH "\"}]}},\n"
	 "{\"tag\": \"http\", \"port\": 8118, \"protocol\": \"http\", \"settings\": {\"accounts\": "
	 "[{\"user\": \"bob\", \"pass\": \"b\"}]}},\n"
	 "{\"tag\": \"tunnel\", \"port\": 53, \"protocol\": \"tunnel\", \"settings\": {"
	 "\"address\": "
	 "\"192.0.2.1\", \"port\": 53, \"network\": \"tcp,udp\"}}],\n"
	 "\"outbounds\": [{\"tag\": \"direct\", \"protocol\": \"freedom\"},\n"
	 "{\"tag\": \"block\", \"protocol\": \"blackhole\"},\n"
	 "{\"tag\": \"exit\", \"protocol\": \"http\", \"settings\": {\"address\": \"p.test\", "
	 "\"port\": 3128, \"user\": \"me\", \"pass\": \"secret\"}, \"streamSettings\": "
	 "{\"security\": \"tls\", " ROOTS "}},\n"
	 "{\"tag\": \"far\", \"protocol\": \"vless\", \"settings\": {\"vnext\": [{\"address\": "
	 "\"v.test\", \"port\": 443, \"users\": [{\"id\": \"" UUID_A "\", \"encryption\": "
	 "\"none\"}]}]}, \"mux\": {\"enabled\": true}, \"streamSettings\": {\"network\": \"h2\", "
	 "\"security\": \"tls\", " ROOTS ", \"httpSettings\": {\"host\": [\"h.test\"], "
	 "\"path\": \"/\"}}}],\n"
	 "\"edge\": {\"inboundTag\": [\"front\"], \"routes\": [{\"to\": {\"inboundTag\": "
	 "\"reality\"}}, {\"names\": [\"*.c.test\"], \"to\": {\"backend\": \"c\"}}], \"backends\": "
	 "[{\"name\": \"c\", \"address\": \"127.0.0.1:9443\"}], \"target\": \"a.test:443\"},\n"
	 "\"routing\": {\"balancers\": [{\"tag\": \"any\", \"selector\": [\"exit\", \"far\"], "
	 "\"strategy\": {\"type\": \"leastPing\"}, \"fallbackTag\": \"direct\"}], \"rules\": ["
	 "{\"domain\": [\"full:a.test\", \"domain:b.test\", \"keyword:ads\", \"regexp:^x.*y$\"], "
	 "\"outboundTag\": \"block\"}, {\"ip\": [\"10.0.0.0/8\", \"fc00::/7\"], \"port\": \"25,"
	 "80-90\", \"outboundTag\": \"block\"}, {\"user\": [\"alice@x\"], \"inboundTag\": "
	 "[\"reality\"], \"network\": \"tcp\", \"balancerTag\": \"any\"}]},\n"
	 "\"observatory\": {\"subjectSelector\": [\"exit\", \"far\"], \"probeUrl\": "
	 "\"http://o.test/\", \"probeInterval\": \"1m\"}}"},
};

static const char *path_of(const char *name)
{
	static _Thread_local char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_identity(void)
{
	struct cv_tls_certificate identity = tls_identity_make("web.test", "DNS:web.test");
	FILE *file = fopen(path_of("combined.pem"), "w");

	assert_non_null(file);
	for (int i = 0; i < 2; i++) {
		const struct cv_span pem = i ? identity.key_pem : identity.chain_pem;

		assert_true(fwrite(pem.data, 1, pem.len_bytes, file) == pem.len_bytes);
	}
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path_of("combined.pem"), 0600), 0);
	file = fopen(path_of("root.pem"), "w");
	assert_non_null(file);
	assert_true(fwrite(identity.chain_pem.data, 1, identity.chain_pem.len_bytes, file) > 0);
	assert_int_equal(fclose(file), 0);
	tls_identity_free(&identity);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory) || cv_log_open("", CV_LOG_NONE) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		FILE *file = fopen(path_of(files[i][0]), "w");

		if (!file || fputs(files[i][1], file) < 0 || fclose(file) != 0 ||
		    chmod(path_of(files[i][0]), 0600) != 0)
			return -1;
	}
	write_identity();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)unlink(path_of(files[i][0]));
	(void)unlink(path_of("combined.pem"));
	(void)unlink(path_of("root.pem"));
	(void)unlink(path_of("usage.json"));
	(void)unlink(path_of("usage.lock"));
	return rmdir(directory);
}

/* ---- sweeping ----------------------------------------------------------------------------- */

static void one(int (*run)(void), long n, bool all_after)
{
	int result;

	failing_begin(FAILING_ME, n, all_after ? LONG_MAX : 1);
	result = run();
	(void)failing_end();
	if (result > 0)
		fail_msg("allocation %ld%s: not whole, but no error", n, all_after ? " ff." : "");
	if (run() != 0)
		fail_msg("after allocation %ld%s failed: it does not work any more", n,
			 all_after ? " ff." : "");
}

/* @run: 0 = whole, negative = error; positive: something is missing, and that was not told. */
static void sweep(int (*run)(void), long steps)
{
	long count = 0;

	for (int i = 0; i < 3; i++) /* libraries prepare themselves */
		assert_int_equal(run(), 0);
	failing_begin(FAILING_ME, LONG_MAX, 1);
	assert_int_equal(run(), 0);
	(void)failing_end();
	count = LONG_MAX - atomic_load(&failing_left);
	assert_true(count > 0);
	if (getenv("CULVERT_LONG"))
		steps = count;
	for (long n = 1; n <= count; n += count > steps && n > steps / 2 ? count / steps + 1 : 1) {
		one(run, n, false);
		one(run, n, true);
	}
}

/* ---- configurations ----------------------------------------------------------------------- */

static void ignore(void *context, bool is_error, const char *text)
{
	(void)context;
	(void)is_error;
	(void)text;
}

static const struct cv_config_report quiet = {.line = ignore};

/* Is it what the file says? */
static bool is_whole(const struct cv_config *config)
{
	size_t users = 0;

	for (size_t i = 0; i < config->inbound_count; i++)
		users += config->inbounds[i].users ? cv_user_count(config->inbounds[i].users) : 0;
	return config->inbound_count == 7 && users == 7 && config->outbound_count == 5;
}

static int load(void)
{
	struct cv_config *config = NULL;
	int error = cv_config_load(path_of("config.json"), &quiet, &config);

	if (!error && !is_whole(config))
		error = 1;
	if (error < 0 && config)
		fail_msg("an error, and a configuration");
	cv_config_free(config);
	return error;
}

static void configuration(void **state)
{
	(void)state;
	sweep(load, 150);
}

static struct cv_config *former;

static int load_again(void)
{
	struct cv_config *config = NULL;
	int error = cv_config_reload(path_of("config.json"), former, &quiet, &config);

	if (!error && !is_whole(config))
		error = 1;
	cv_config_free(config);
	return error;
}

static void configuration_again(void **state)
{
	(void)state;
	assert_int_equal(cv_config_load(path_of("config.json"), &quiet, &former), 0);
	sweep(load_again, 40);
	former = cv_config_free(former);
}

static int check_users(void)
{
	return cv_users_check("users.json", files[0][1], strlen(files[0][1]), &quiet);
}

static void users(void **state)
{
	(void)state;
	sweep(check_users, 150);
}

/* ---- what is made of them ----------------------------------------------------------------- */

static struct cv_worker worker; /* no thread: nobody is visited */

static int answer_all(void)
{
	static const char *const commands[] = {"users",    "engines",   "sni",	   "backends",
					       "proxies",  "outbounds", "kernel",  "workers",
					       "reasons",  "sessions",	"carriers", "nonsense"};
	const struct cv_control_view view = {
		.config = former, .workers = &worker, .worker_count = 0};
	int error = 0;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct json_object *answer = cv_control_answer(&view, commands[i]);
		const bool refused = json_object_object_get_ex(answer, "error", NULL);

		if (!answer || refused != (strcmp(commands[i], "nonsense") == 0))
			error = -ENOMEM;
		else if (!refused && json_object_object_length(answer) == 0)
			error = 1;
		json_object_put(answer);
	}
	return error;
}

static void answers(void **state)
{
	(void)state;
	assert_int_equal(cv_config_load(path_of("config.json"), &quiet, &former), 0);
	sweep(answer_all, 100);
	former = cv_config_free(former);
}

static size_t report_len, metrics_len;

static int report(void)
{
	const struct cv_control_view view = {
		.config = former, .workers = &worker, .worker_count = 0};
	const struct cv_status_process process = {.version = "1"};
	struct json_object *json = cv_status_json(&view, &process);
	size_t len = 0, members = 0;
	char *text = cv_status_metrics(&view, &process, &len);
	int error = json && text ? 0 : -ENOMEM;

	if (json)
		members = (size_t)json_object_object_length(json);
	if (!report_len) { /* the first time nothing fails */
		report_len = members;
		metrics_len = len;
	}
	if (!error && (members != report_len || len != metrics_len))
		error = 1;
	json_object_put(json);
	free(text);
	return error;
}

static void status(void **state)
{
	(void)state;
	assert_int_equal(cv_config_load(path_of("config.json"), &quiet, &former), 0);
	sweep(report, 100);
	former = cv_config_free(former);
}

/* Quotas: the file is whole, and says what it said, whatever fails. */
static int keep_quotas(void)
{
	const struct cv_limits limits = {.quota_bytes = 1000000};
	struct cv_usage_table *usages = cv_usage_table_new();
	struct cv_usage_file *file = NULL;
	struct cv_usage *usage;
	bool differ;
	int error = -ENOMEM;

	usage = usages ? cv_usage_join(usages, "alice@x", &limits, &differ) : NULL;
	if (usage)
		error = cv_usage_file_start(directory, usages, &file);
	if (!error && cv_usage_used(usage, 0) != 4711)
		error = -ENOMEM; /* not read: it was said in the log */
	cv_usage_file_stop(file);
	cv_usage_table_free(usages);
	return error;
}

static void quotas(void **state)
{
	static const char text[] = "{\"version\": 1, \"users\": {\"alice@x\": {\"uplinkBytes\": "
				   "4711, \"downlinkBytes\": 0, \"periodStart\": 0, \"saved\": "
				   "4000000000}}}";
	FILE *file = fopen(path_of("usage.json"), "w");

	(void)state;
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	sweep(keep_quotas, 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration),
		cmocka_unit_test(configuration_again),
		cmocka_unit_test(users),
		cmocka_unit_test(answers),
		cmocka_unit_test(status),
		cmocka_unit_test(quotas),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
