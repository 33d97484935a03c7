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

/* ---- when the kernel takes a direction over ------------------------------------------------ */

/* What carries control records and new keys of a direction that the kernel protects. All return 0,
 * -EAGAIN (send: no room now) or another negative value. */
struct cv_record_carrier {
	int (*send)(void *context, uint8_t type, struct cv_span body);
	int (*rekey)(void *context, const struct cv_tls_keys *keys, bool is_tx);
	void *context;
	bool can_rekey;
};

/** cv_record_layer_keys() - Keys and the number of records so far of one direction, or NULL: not a
 * record layer, the direction is over, or it stands inside a handshake message. */
const struct cv_tls_keys *cv_record_layer_keys(const struct cv_layer *layer, bool is_tx);
/** cv_record_layer_to_kernel() - Application data of this direction does not come here any more: it
 * becomes CV_CLEAR. The layer stays, for what is no application data. @carrier is copied. */
void cv_record_layer_to_kernel(struct cv_layer *layer, const struct cv_record_carrier *carrier,
			       bool is_tx);
/**
 * cv_record_layer_control() - A record which the kernel opened and that is no application data.
 * @after_data: application data came since the last one
 * @reply: sealed answers, while sending is still ours; else they leave through the carrier
 * Returns 0; CV_LAYER_EOF; a reason as decode does, or CV_PEER_KEY_UPDATE / CV_UPSTREAM_KEY_UPDATE
 * where the kernel cannot change keys.
 */
int cv_record_layer_control(struct cv_layer *layer, uint8_t type, struct cv_span body,
			    bool after_data, struct cv_buffer *reply);
/** cv_record_layer_failed() - The kernel could not open a record: @error is its -errno. Sends the
 * alert that decode would have sent; returns the reason. */
int cv_record_layer_failed(struct cv_layer *layer, int error, struct cv_buffer *reply);
/** cv_record_layer_pay() - Before the kernel sends more with a key that protected @sent_records so
 * far: a KeyUpdate if one is owed, or if the key has served long enough. Returns 0; -EAGAIN;
 * CV_POLICY_KEY_LIMIT where one is needed and the kernel cannot; else the carrier's error. */
int cv_record_layer_pay(struct cv_layer *layer, uint64_t sent_records);

#endif
