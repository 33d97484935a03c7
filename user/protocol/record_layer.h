/* SPDX-License-Identifier: MIT */
/*
 * record_layer.h - TLS 1.3 application-data protection as a layer, after a handshake of our own
 * (REALITY server, REALITY/TLS client).
 */
#ifndef CV_PROTOCOL_RECORD_LAYER_H
#define CV_PROTOCOL_RECORD_LAYER_H

#include "crypto/tls_record.h"
#include "protocol/layer.h"

/**
 * cv_record_layer_new() - Takes over both key sets (moved: the caller's structs are zeroed).
 * @is_server: our role; decides which post-handshake messages are legal and which side's reasons
 * (CV_PEER_ / CV_UPSTREAM_) errors carry. Empty application_data records are dropped
 * (REALITY 12.2), at most 32 in a row; NewSessionTicket ignored by a client; KeyUpdate answered.
 *
 * decode takes one record per call and may need room for its whole payload in @out. Whatever it
 * refuses (CV_PEER_BAD_RECORD, _UNEXPECTED_MESSAGE, _TOO_LONG, _DECODE, _ALERT or their
 * CV_UPSTREAM_ names) leaves the fatal alert in @reply and ends the direction: later calls repeat
 * the reason. CV_INTERNAL_RESOURCE: @out has no room; nothing was consumed. encode emits one record
 * per 16384 bytes, each in a call of its own. Both directions are CV_RECORDS for the layer's life.
 * Returns NULL when out of memory; the keys are gone then, too.
 * Source: RFC 8446 4.6, 5, 6; REALITY 12.2.
 */
struct cv_layer *cv_record_layer_new(struct cv_tls_keys *rx, struct cv_tls_keys *tx,
				     bool is_server);

#endif
