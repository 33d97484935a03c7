// SPDX-License-Identifier: MIT
/*
 * haproxy_export.c - a haproxy.cfg that leads clients where our edge would.
 *
 *   inbound of the edge   frontend, in mode tcp, with the inspect-delay
 *   routes                acl and use_backend: exact names, then wildcards, the longest first
 *   answers               use_backend for what is no TLS, has no name, says nothing
 *   a place               backend; what it is when down: a backup server
 *
 * HAProxy takes the first rule that fits, hence that order.
 */
#include "config/haproxy.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 512
#define NAMES_PER_LINE 8
#define CONNECTIONS_MAX 4096 /* HAProxy takes descriptors for all of them at its start */

struct export {
	const struct cv_config *config;
	const struct cv_config_report *report;
	const char *behind;
	FILE *out;
	const struct cv_inbound *front; /* being written */
	struct cv_edge_place *places;	/* that need a backend */
	size_t place_count, place_room;
	bool failed;
};

static void tell(struct export *export, bool is_error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void tell(struct export *export, bool is_error, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	export->failed |= is_error;
	if (export->report->line)
		export->report->line(export->report->context, is_error, text);
}

/* ---- names -------------------------------------------------------------------------------- */

/* HAProxy's names are of letters, digits and "-_.:". */
static void clean(const char *name, char text[TEXT_MAX])
{
	size_t len = 0;

	for (; *name && len < TEXT_MAX - 1; name++)
		text[len++] = isalnum((unsigned char)*name) || strchr("-_.:", *name) ? *name : '_';
	text[len] = '\0';
}

static bool is_nowhere(const struct export *export, const struct cv_edge_place *place)
{
	return place->kind == CV_EDGE_DROP ||
	       (place->kind == CV_EDGE_PASS && export->front->protocol == CV_INBOUND_EDGE &&
		!export->front->edge->target);
}

static void name_place(const struct export *export, const struct cv_edge_place *place,
		       char text[TEXT_MAX])
{
	char raw[TEXT_MAX];

	if (place->kind == CV_EDGE_BACKEND)
		(void)snprintf(raw, sizeof(raw), "%s", place->backend->name);
	else if (place->kind == CV_EDGE_INBOUND)
		(void)snprintf(raw, sizeof(raw), "inbound_%s",
			       export->config->inbounds[place->inbound].tag);
	else
		(void)snprintf(raw, sizeof(raw), "target_of_%s", export->front->tag);
	clean(raw, text);
}

/* ---- addresses ---------------------------------------------------------------------------- */

static void server_of(const struct cv_destination *destination,
		      const struct cv_sockaddr *unix_address, char text[TEXT_MAX])
{
	char found[CV_DESTINATION_TEXT];

	if (unix_address->len_bytes == 0) {
		cv_destination_format(destination, found);
		(void)snprintf(text, TEXT_MAX, "%s", found);
		return;
	}
	if (unix_address->un.sun_path[0])
		(void)snprintf(text, TEXT_MAX, "unix@%.108s", unix_address->un.sun_path);
	else
		(void)snprintf(text, TEXT_MAX, "abns@%.107s", unix_address->un.sun_path + 1);
}

static void listener_of(const struct cv_sockaddr *address, char text[TEXT_MAX])
{
	char found[CV_DESTINATION_TEXT];

	if (address->any.sa_family == AF_UNIX) {
		server_of(NULL, address, text);
		return;
	}
	cv_sockaddr_format(address, found);
	(void)snprintf(text, TEXT_MAX, "%s%s", found,
		       address->any.sa_family == AF_INET6 &&
				       IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr)
			       ? " v4v6"
			       : "");
}

/* Where HAProxy reaches an inbound of ours. */
static void inbound_server(struct export *export, const struct cv_inbound *inbound,
			   char text[TEXT_MAX])
{
	struct cv_sockaddr address;

	text[0] = '\0';
	if (inbound->listen_count == 0) {
		tell(export, true, "inbound %.64s has no address of its own: give it one, "
				   "like 127.0.0.1:8443", inbound->tag);
		return;
	}
	address = inbound->listen_addresses[0];
	if (address.any.sa_family == AF_INET && address.in.sin_addr.s_addr == htonl(INADDR_ANY))
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (address.any.sa_family == AF_INET6 &&
		 IN6_IS_ADDR_UNSPECIFIED(&address.in6.sin6_addr))
		address.in6.sin6_addr = in6addr_loopback;
	listener_of(&address, text);
}

static const char *header_option(int xver)
{
	return xver == 2 ? " send-proxy-v2" : xver == 1 ? " send-proxy" : "";
}

/* ---- backends ----------------------------------------------------------------------------- */

static void note_place(struct export *export, const struct cv_edge_place *place)
{
	struct cv_edge_place *more;

	char name[TEXT_MAX], other[TEXT_MAX];

	if (is_nowhere(export, place))
		return;
	name_place(export, place, name);
	for (size_t i = 0; i < export->place_count; i++) {
		if (cv_edge_place_equal(&export->places[i], place))
			return;
		name_place(export, &export->places[i], other);
		if (strcmp(name, other) == 0)
			tell(export, true, "two backends are \"%.128s\" to HAProxy: rename one",
			     name);
	}
	more = reallocarray(export->places, export->place_count + 1, sizeof(*more));
	if (!more) {
		tell(export, true, "out of memory");
		return;
	}
	export->places = more;
	more[export->place_count++] = *place;
}

static void write_server(struct export *export, const char *name, const struct cv_edge_place *place,
			 bool is_backup)
{
	const struct cv_backend *backend = place->backend;
	const struct cv_inbound *inbound = export->front;
	char address[TEXT_MAX];

	if (place->kind == CV_EDGE_PASS && inbound->protocol == CV_INBOUND_EDGE)
		backend = inbound->edge->target;
	if (place->kind == CV_EDGE_INBOUND)
		inbound = &export->config->inbounds[place->inbound];
	if (backend)
		server_of(&backend->destination, &backend->unix_address, address);
	else if (place->kind == CV_EDGE_INBOUND)
		inbound_server(export, inbound, address);
	else
		(void)snprintf(address, sizeof(address), "%s", export->behind);
	fprintf(export->out, "\tserver %s %s", name, address);
	if (backend && backend->is_checked)
		fprintf(export->out, " check inter %us fall %u rise %u",
			backend->interval_ms / 1000, backend->fall, backend->rise);
	fprintf(export->out, "%s%s\n",
		backend ? header_option(backend->xver)
			: header_option(inbound->accepts_proxy ? 2 : 0),
		is_backup ? " backup" : "");
}

static void write_backend(struct export *export, const struct cv_edge_place *place)
{
	const struct cv_backend *backend = place->backend;
	char name[TEXT_MAX];

	name_place(export, place, name);
	fprintf(export->out, "\nbackend %s\n\tmode tcp\n", name);
	write_server(export, "main", place, false);
	if (place->kind != CV_EDGE_BACKEND || !backend->is_checked ||
	    is_nowhere(export, &backend->when_down))
		return;
	write_server(export, "when_down", &backend->when_down, true);
}

/* ---- routes ------------------------------------------------------------------------------- */

static int by_specificity(const void *left, const void *right)
{
	const struct cv_edge_name *a = *(const struct cv_edge_name *const *)left;
	const struct cv_edge_name *b = *(const struct cv_edge_name *const *)right;
	const size_t a_len = a->text[0] == '*' ? strlen(a->text) : SIZE_MAX;
	const size_t b_len = b->text[0] == '*' ? strlen(b->text) : SIZE_MAX;

	if (a_len != b_len)
		return a_len < b_len ? 1 : -1;
	return strcmp(a->text, b->text);
}

static void write_use(struct export *export, const struct cv_edge_place *place,
		      const char *condition)
{
	char name[TEXT_MAX];

	if (is_nowhere(export, place))
		return; /* rejected before */
	name_place(export, place, name);
	fprintf(export->out, "\tuse_backend %s if %s\n", name, condition);
	note_place(export, place);
}

static void write_reject(struct export *export, const struct cv_edge_place *place,
			 const char *condition)
{
	if (is_nowhere(export, place))
		fprintf(export->out, "\ttcp-request content reject if %s\n", condition);
}

/* Names that follow each other and lead to one place share an acl. */
static size_t count_group(const struct cv_edge_name **names, size_t count)
{
	const bool is_wildcard = names[0]->text[0] == '*';
	size_t used = 1;

	while (used < count && used < NAMES_PER_LINE &&
	       (names[used]->text[0] == '*') == is_wildcard &&
	       cv_edge_place_equal(&names[used]->place, &names[0]->place))
		used++;
	return used;
}

enum pass { WRITE_ACLS, WRITE_VERDICTS, WRITE_USES };

static void write_group(struct export *export, const struct cv_edge_name **names, size_t count,
			size_t index, enum pass pass)
{
	const bool is_wildcard = names[0]->text[0] == '*';
	const struct cv_edge_place *place = &names[0]->place;
	char condition[64];

	(void)snprintf(condition, sizeof(condition), "name_%zu", index);
	switch (pass) {
	case WRITE_ACLS:
		fprintf(export->out, "\tacl %s req_ssl_sni -i%s", condition,
			is_wildcard ? " -m end" : "");
		for (size_t i = 0; i < count; i++)
			fprintf(export->out, " %s", names[i]->text + is_wildcard);
		fputc('\n', export->out);
		break;
	case WRITE_VERDICTS: /* an exact name comes before the wildcard that is dropped */
		fprintf(export->out, "\ttcp-request content %s if %s\n",
			is_nowhere(export, place) ? "reject" : "accept", condition);
		break;
	case WRITE_USES:
		write_use(export, place, condition);
		break;
	}
}

static void write_names(struct export *export, enum pass pass)
{
	const struct cv_edge *edge = export->front->edge;
	const struct cv_edge_name **names =
		calloc(edge->name_count + 1, sizeof(struct cv_edge_name *));

	if (!names) {
		tell(export, true, "out of memory");
		return;
	}
	for (size_t i = 0; i < edge->name_count; i++)
		names[i] = &edge->names[i];
	qsort(names, edge->name_count, sizeof(struct cv_edge_name *), by_specificity);
	for (size_t at = 0, index = 0, used; at < edge->name_count; at += used, index++) {
		used = count_group(names + at, edge->name_count - at);
		write_group(export, names + at, used, index, pass);
	}
	free(names);
}

#define IS_SILENT "{ req.len 0 }"
#define IS_HELLO "{ req_ssl_hello_type 1 }"
#define IS_NO_TLS "{ req.len gt 0 } !{ req.payload(0,1) -m bin 16 }"
#define HAS_NO_NAME IS_HELLO " !{ req_ssl_sni -m found }"

/* What is decided must not wait: "req.len 0" is not decided before the delay is over. */
static void write_verdicts(struct export *export)
{
	const struct cv_edge *edge = export->front->edge;

	write_names(export, WRITE_VERDICTS);
	write_reject(export, &edge->no_name, HAS_NO_NAME);
	fputs("\ttcp-request content accept if " IS_HELLO "\n", export->out);
	write_reject(export, &edge->no_tls, IS_NO_TLS);
	fputs("\ttcp-request content accept if " IS_NO_TLS "\n", export->out);
	write_reject(export, &edge->silence, IS_SILENT);
}

/* Unless it is what the default is. */
static void write_answer(struct export *export, const struct cv_edge_place *place,
			 const char *condition)
{
	if (!cv_edge_place_equal(place, &export->front->edge->unknown))
		write_use(export, place, condition);
}

static void write_uses(struct export *export)
{
	const struct cv_edge *edge = export->front->edge;
	char name[TEXT_MAX];

	write_names(export, WRITE_USES);
	write_answer(export, &edge->silence, IS_SILENT);
	write_answer(export, &edge->no_tls, IS_NO_TLS);
	write_answer(export, &edge->no_name, HAS_NO_NAME);
	if (is_nowhere(export, &edge->unknown))
		return; /* without a default HAProxy closes */
	note_place(export, &edge->unknown);
	name_place(export, &edge->unknown, name);
	fprintf(export->out, "\tdefault_backend %s\n", name);
}

static void write_frontend(struct export *export)
{
	const struct cv_inbound *inbound = export->front;
	char name[TEXT_MAX], address[TEXT_MAX];

	clean(inbound->tag, name);
	fprintf(export->out, "\nfrontend %s\n\tmode tcp\n", name);
	for (size_t i = 0; i < inbound->listen_count; i++) {
		listener_of(&inbound->listen_addresses[i], address);
		fprintf(export->out, "\tbind %s%s\n", address,
			inbound->accepts_proxy ? " accept-proxy" : "");
	}
	fputs("\ttcp-request inspect-delay 5s\n", export->out);
	write_names(export, WRITE_ACLS);
	write_verdicts(export);
	write_uses(export);
	if (inbound->protocol != CV_INBOUND_EDGE)
		tell(export, false,
		     "inbound %.64s: HAProxy has its address then; it must listen on %s",
		     inbound->tag, export->behind);
}

/* ---- all of it ---------------------------------------------------------------------------- */

static void write_head(const struct export *export)
{
	const uint32_t limit = export->config->daemon.max_sessions;

	fprintf(export->out,
		"global\n\tmaxconn %u\n\ndefaults\n\tmode tcp\n\ttimeout connect 15s\n"
		"\ttimeout client %us\n\ttimeout server %us\n",
		limit < CONNECTIONS_MAX ? limit : CONNECTIONS_MAX,
		export->config->levels[0].idle_ms / 1000,
		export->config->levels[0].idle_ms / 1000);
}

static void write_one(struct export *export, const struct cv_inbound *inbound)
{
	export->front = inbound;
	export->place_count = 0;
	write_frontend(export);
	for (size_t i = 0; i < export->place_count; i++)
		write_backend(export, &export->places[i]);
}

int cv_haproxy_export(const struct cv_config *config, const char *behind,
		      const struct cv_config_report *report, FILE *out)
{
	static const struct cv_config_report silent;
	struct export export = {.config = config,
				.report = report ? report : &silent,
				.behind = behind,
				.out = out};
	size_t count = 0;

	write_head(&export);
	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].edge && config->inbounds[i].edge->is_routed &&
		    config->inbounds[i].listen_count) {
			write_one(&export, &config->inbounds[i]);
			count++;
		}
	if (count == 0)
		tell(&export, true,
		     "no inbound routes by name: there is nothing for HAProxy to do");
	free(export.places);
	return export.failed ? CV_INTERNAL_CONFIG : 0;
}
