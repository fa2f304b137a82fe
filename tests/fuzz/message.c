/* Messages: the hand-written decoders of the hot requests accept exactly what the strict check by
 * descriptors accepts, and read the same region from it; everything else is unpacked into a bounded
 * arena. */
#include <stdio.h>
#include <stdlib.h>

#include "common/arena.h"
#include "protocol/codec.h"
#include "protocol/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void use(const struct value *value)
{
    uint8_t room[16];
    if (value->type == VALUE_NOT_SET || value_encoded_size(value) > sizeof(room))
        return;
    size_t size = value_encoded_size(value);
    check((size_t)(value_encode(value, room) - room) == size,
          "a value has the size that it was said to have");
    struct value again;
    check(value_decode(slice_of(room, size), &again) == OK, "an encoded value is decoded");
    check(value_equal(value, &again), "and is the same");
}

/* Reads the body of a hot request by hand. */
static enum error decode(uint32_t number, struct slice body, struct slice *region)
{
    struct codec_entry_request entry;
    struct codec_key_request key;
    uint32_t count = 0, seen = 0;
    struct value first, second;
    struct slice walk = body;
    enum error status;
    switch (number) {
    case 2:
    case 34:
        status = codec_entry_request(body, &entry);
        if (status == OK) {
            *region = entry.region;
            use(&entry.key);
            use(&entry.value);
        }
        return status;
    case 4:
    case 10:
        status = codec_key_request(body, &key);
        if (status == OK) {
            *region = key.region;
            use(&key.key);
        }
        return status;
    case 6:
        status = codec_entries_request(body, region, &count);
        while (status == OK && codec_next_entry(&walk, &first, &second))
            seen++;
        break;
    default:
        status = codec_keys_request(body, region, &count);
        while (status == OK && codec_next_key(&walk, &first))
            seen++;
    }
    check(status != OK || seen == count, "the walk finds as many as were counted");
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t number = 0;
    struct slice body = {0};
    if (codec_message(slice_of(data, size), &number, &body) != OK || !message_is_member(number))
        return 0;
    struct arena arena;
    arena_init(&arena, 16u * 1024 * 1024);
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(number);
    ProtobufCMessage *message = NULL;
    enum error status =
        descriptor == NULL ? ERROR_MALFORMED : message_unpack(descriptor, &arena, body, &message);
    check(status != OK || message != NULL, "what was unpacked is there");
    bool hot =
        number == 2 || number == 4 || number == 6 || number == 8 || number == 10 || number == 34;
    if (hot && status != ERROR_MEMORY) {
        struct slice region = {0};
        enum error by_hand = decode(number, body, &region);
        check((by_hand == OK) == (message_check_member(number, body) == OK),
              "the decoders accept what the strict check accepts");
        if (status == OK) {
            /* Field 1 of each of these is the region's name. */
            const ProtobufCBinaryData *name =
                (const ProtobufCBinaryData *)(const void *)((const uint8_t *)message +
                                                            protobuf_c_message_descriptor_get_field(
                                                                descriptor, 1)
                                                                ->offset);
            check(slice_equal(region, message_slice(*name)), "the decoders read the same region");
        }
    }
    arena_fini(&arena);
    return 0;
}
