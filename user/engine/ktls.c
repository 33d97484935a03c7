// SPDX-License-Identifier: MIT
/*
 * ktls.c - the system calls of kernel TLS.
 *
 *   secret --HKDF-Expand-Label--> key, iv --setsockopt(SOL_TLS)--> kernel; wiped here
 *
 *   GCM:      salt = iv[0..4), iv = iv[4..12)       ChaCha20: iv = iv[0..12), no salt
 *   rec_seq:  number of records under that key so far, 8 bytes big endian
 *
 * TLS_RX_EXPECT_NO_PAD is never set (its retry was broken for years), no NIC offload is asked for.
 * A full socket makes the kernel keep a sealed record back until a work item pushes it; a FIN that
 * overtakes it would cut the stream. tx_base_bytes + content + 22 per record is where TCP's own
 * count must have arrived before shutdown().
 */
#include "engine/ktls.h"

#include "crypto/tls_record.h"

#include <culvert/reason.h>

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define RECORD_OVERHEAD (CV_TLS_HEADER + 1 + CV_AEAD_TAG)
#define SALT_BYTES 4

union crypto_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 gcm_128;
	struct tls12_crypto_info_aes_gcm_256 gcm_256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

_Static_assert(TLS_CIPHER_AES_GCM_128_SALT_SIZE == SALT_BYTES &&
		       TLS_CIPHER_AES_GCM_256_SALT_SIZE == SALT_BYTES,
	       "GCM's nonce is split 4 + 8");

int cv_ktls_attach(int fd)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls") - 1) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* ---- keys --------------------------------------------------------------------------------- */

static void sequence_write(uint64_t sequence, unsigned char *bytes)
{
	for (size_t i = 0; i < 8; i++)
		bytes[i] = (unsigned char)(sequence >> (56 - 8 * i));
}

static uint64_t sequence_read(const unsigned char *bytes)
{
	uint64_t sequence = 0;

	for (size_t i = 0; i < 8; i++)
		sequence = sequence << 8 | bytes[i];
	return sequence;
}

/* The struct for the suite; returns its size. */
static socklen_t crypto_info_fill(union crypto_info *crypto, enum cv_aead_kind aead,
				  const uint8_t *key, const struct cv_tls_keys *keys)
{
	memset(crypto, 0, sizeof(*crypto));
	crypto->info.version = TLS_1_3_VERSION;
	switch (aead) {
	case CV_AES_128_GCM:
		crypto->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(crypto->gcm_128.key, key, sizeof(crypto->gcm_128.key));
		memcpy(crypto->gcm_128.salt, keys->iv, SALT_BYTES);
		memcpy(crypto->gcm_128.iv, keys->iv + SALT_BYTES, sizeof(crypto->gcm_128.iv));
		sequence_write(keys->sequence, crypto->gcm_128.rec_seq);
		return sizeof(crypto->gcm_128);
	case CV_AES_256_GCM:
		crypto->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(crypto->gcm_256.key, key, sizeof(crypto->gcm_256.key));
		memcpy(crypto->gcm_256.salt, keys->iv, SALT_BYTES);
		memcpy(crypto->gcm_256.iv, keys->iv + SALT_BYTES, sizeof(crypto->gcm_256.iv));
		sequence_write(keys->sequence, crypto->gcm_256.rec_seq);
		return sizeof(crypto->gcm_256);
	default:
		crypto->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(crypto->chacha.key, key, sizeof(crypto->chacha.key));
		memcpy(crypto->chacha.iv, keys->iv, sizeof(crypto->chacha.iv));
		sequence_write(keys->sequence, crypto->chacha.rec_seq);
		return sizeof(crypto->chacha);
	}
}

/* What the kernel says of the sending key: how many records it has protected. */
static int sent_sequence(int fd, uint64_t *ret_sequence)
{
	union crypto_info crypto = {{0}};
	socklen_t size_bytes = sizeof(crypto.info);
	int error = 0;

	if (getsockopt(fd, SOL_TLS, TLS_TX, &crypto, &size_bytes) < 0)
		return -errno;
	switch (crypto.info.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		size_bytes = sizeof(crypto.gcm_128);
		break;
	case TLS_CIPHER_AES_GCM_256:
		size_bytes = sizeof(crypto.gcm_256);
		break;
	default:
		size_bytes = sizeof(crypto.chacha);
		break;
	}
	if (getsockopt(fd, SOL_TLS, TLS_TX, &crypto, &size_bytes) < 0)
		error = -errno;
	else if (crypto.info.cipher_type == TLS_CIPHER_AES_GCM_128)
		*ret_sequence = sequence_read(crypto.gcm_128.rec_seq);
	else if (crypto.info.cipher_type == TLS_CIPHER_AES_GCM_256)
		*ret_sequence = sequence_read(crypto.gcm_256.rec_seq);
	else
		*ret_sequence = sequence_read(crypto.chacha.rec_seq);
	cv_cleanse(&crypto, sizeof(crypto));
	return error;
}

/* Bytes that TCP has taken over for sending since the connection began. */
static int tcp_taken_bytes(int fd, uint64_t *ret_bytes)
{
	uint64_t acked_bytes;
	int unacked_bytes;

	do { /* an acknowledgement in between would be counted twice, or not at all */
		struct tcp_info info = {0};
		socklen_t size_bytes = sizeof(info);

		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size_bytes) < 0 ||
		    ioctl(fd, SIOCOUTQ, &unacked_bytes) < 0)
			return -errno;
		acked_bytes = info.tcpi_bytes_acked;
		memset(&info, 0, sizeof(info));
		size_bytes = sizeof(info);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size_bytes) < 0)
			return -errno;
		if (info.tcpi_bytes_acked == acked_bytes)
			break;
	} while (true);
	*ret_bytes = acked_bytes + (uint64_t)unacked_bytes;
	return 0;
}

/* Where TCP's count has to be once all records of the present key are pushed. */
static int expected_bytes(const struct cv_ktls *ktls, uint64_t *ret_bytes)
{
	uint64_t sequence = 0;
	int error = sent_sequence(ktls->fd, &sequence);

	if (!error)
		*ret_bytes = ktls->tx_base_bytes + ktls->tx_content_bytes +
			     (sequence - ktls->tx_first_sequence) * RECORD_OVERHEAD;
	return error;
}

static int set_keys(int fd, const struct cv_tls_keys *keys, bool is_tx)
{
	const struct cv_tls_suite *suite = keys->suite;
	union crypto_info crypto;
	uint8_t key[32];
	socklen_t size_bytes;
	int error = cv_tls_expand_label(suite->hash, keys->secret, "key", NULL, 0, key,
					cv_aead_key_len(suite->aead));

	if (error)
		return -EIO;
	size_bytes = crypto_info_fill(&crypto, suite->aead, key, keys);
	if (setsockopt(fd, SOL_TLS, is_tx ? TLS_TX : TLS_RX, &crypto, size_bytes) < 0)
		error = -errno;
	cv_cleanse(&crypto, sizeof(crypto));
	cv_cleanse(key, sizeof(key));
	return error;
}

int cv_ktls_set_keys(struct cv_ktls *ktls, const struct cv_tls_keys *keys, bool is_tx)
{
	uint64_t base_bytes = 0;
	int error = 0;

	if (is_tx)
		error = ktls->tx_on ? expected_bytes(ktls, &base_bytes)
				    : tcp_taken_bytes(ktls->fd, &base_bytes);
	if (!error)
		error = set_keys(ktls->fd, keys, is_tx);
	if (error)
		return error;
	if (!is_tx) {
		ktls->rx_on = true;
		return 0;
	}
	ktls->tx_on = true;
	ktls->tx_base_bytes = base_bytes;
	ktls->tx_first_sequence = keys->sequence;
	ktls->tx_content_bytes = 0;
	ktls->tx_records_max = keys->sequence;
	return 0;
}

/* ---- records ------------------------------------------------------------------------------ */

int cv_ktls_send_control(struct cv_ktls *ktls, uint8_t type, struct cv_span body)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(type))];
	} control = {.header = {
			     .cmsg_level = SOL_TLS,
			     .cmsg_type = TLS_SET_RECORD_TYPE,
			     .cmsg_len = CMSG_LEN(sizeof(type)),
		     }};
	struct iovec part = {.iov_base = (void *)(uintptr_t)body.data, .iov_len = body.len_bytes};
	const struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.header), &type, sizeof(type));
	if (sendmsg(ktls->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	cv_ktls_wrote(ktls, body.len_bytes);
	return 0;
}

int cv_ktls_close_notify(struct cv_ktls *ktls)
{
	static const uint8_t close_notify[2] = {1, 0}; /* warning, close_notify: RFC 8446 6.1 */
	int error;

	if (ktls->close_notify_sent)
		return 0;
	error = cv_ktls_send_control(ktls, CV_TLS_ALERT,
				     cv_span_of(close_notify, sizeof(close_notify)));
	ktls->close_notify_sent = error != -EAGAIN;
	return error;
}

ssize_t cv_ktls_recv(int fd, void *bytes, size_t size_bytes, uint8_t *ret_type)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(*ret_type))];
	} control;
	struct iovec part = {.iov_base = bytes, .iov_len = size_bytes};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *header;
	ssize_t count = recvmsg(fd, &message, MSG_DONTWAIT);

	if (count < 0)
		return -errno;
	*ret_type = CV_TLS_APPLICATION;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE)
		memcpy(ret_type, CMSG_DATA(header), sizeof(*ret_type));
	return count;
}

/* ---- what was sent ------------------------------------------------------------------------ */

void cv_ktls_wrote(struct cv_ktls *ktls, size_t count_bytes)
{
	ktls->tx_content_bytes += count_bytes;
	ktls->tx_records_max += 1 + count_bytes / CV_TLS_PLAINTEXT_MAX;
}

bool cv_ktls_is_pushed(const struct cv_ktls *ktls)
{
	uint64_t expected = 0, taken = 0;

	/* A dead socket answers neither; there is nothing to wait for. */
	return expected_bytes(ktls, &expected) < 0 || tcp_taken_bytes(ktls->fd, &taken) < 0 ||
	       taken >= expected;
}

void cv_ktls_push(const struct cv_ktls *ktls)
{
	const int on = 1;

	/* Set long ago; setting it again sends what is queued. */
	(void)setsockopt(ktls->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

uint64_t cv_ktls_sent_records(const struct cv_ktls *ktls)
{
	uint64_t sequence = 0;

	return sent_sequence(ktls->fd, &sequence) < 0 ? 0 : sequence;
}
