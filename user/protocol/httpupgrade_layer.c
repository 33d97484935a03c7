// SPDX-License-Identifier: MIT
/*
 * httpupgrade_layer.c - HTTPUpgrade, client side: a request, an answer, then nothing.
 *
 *   start  request ->            is_opening
 *   decode <- 101                CLEAR in both directions; what came behind it is the stream's
 *
 * With early data allowed nobody waits for the 101: what is sent follows the request at once, and
 * only receiving has a head to take off (WebSocket 5).
 */
#include "protocol/transport.h"

#include "base/container.h"
#include "protocol/upgrade_client.h"

#include <culvert/reason.h>

#include <stdlib.h>

struct httpupgrade_layer {
	struct cv_layer layer;
	struct cv_upgrade_client client;
};

static struct httpupgrade_layer *httpupgrade_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct httpupgrade_layer, layer);
}

static int httpupgrade_start(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct httpupgrade_layer *self = httpupgrade_layer_of(layer);
	const int error =
		cv_upgrade_client_start(&self->client, (struct cv_span){0}, emit, context);

	if (!error && self->client.transport->early_bytes > 0) {
		layer->is_opening = false;
		layer->tx = CV_CLEAR;
	}
	return error;
}

static int httpupgrade_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			      struct cv_buffer *reply)
{
	const int result = cv_upgrade_client_read(&httpupgrade_layer_of(layer)->client, in);

	(void)out;
	(void)reply;
	if (result == 0) {
		layer->rx = layer->tx = CV_CLEAR;
		layer->is_opening = false;
	}
	return result;
}

/* Until the answer is there nothing else is said. */
static int httpupgrade_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			      void *context)
{
	(void)layer;
	(void)bytes;
	(void)emit;
	(void)context;
	return CV_INTERNAL_STATE;
}

static int httpupgrade_decode_eof(struct cv_layer *layer)
{
	(void)layer;
	return CV_UPSTREAM_TRUNCATED; /* it is asked only before the answer */
}

static void httpupgrade_free(struct cv_layer *layer)
{
	free(httpupgrade_layer_of(layer));
}

static const struct cv_layer_ops httpupgrade_ops = {
	.name = "httpupgrade",
	.start = httpupgrade_start,
	.decode = httpupgrade_decode,
	.encode = httpupgrade_encode,
	.decode_eof = httpupgrade_decode_eof,
	.free = httpupgrade_free,
};

struct cv_layer *cv_httpupgrade_client_layer_new(const struct cv_transport *transport,
						 const struct cv_transport_place *place)
{
	struct httpupgrade_layer *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){
		.ops = &httpupgrade_ops, .rx = CV_OPAQUE, .tx = CV_OPAQUE, .is_opening = true};
	if (cv_upgrade_client_init(&self->client, CV_UPGRADE_BARE, transport, place) != 0) {
		free(self);
		return NULL;
	}
	return &self->layer;
}
