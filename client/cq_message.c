#include "client/cq_message.h"

#include "client/wire.h"

static const struct {
    enum vug_status_code code;
    const char *text;
} status_rows[] = {
    {VUG_CONNECTED, "CONNECTED"},
    {VUG_BUCKET_MOVED, "BUCKET_MOVED"},
    {VUG_GAP, "GAP"},
    {VUG_RESNAPSHOT, "RESNAPSHOT"},
    {VUG_DATA_LOSS, "DATA_LOSS"},
    {VUG_SLOW, "SLOW"},
    {VUG_CLOSED, "CLOSED"},
    {VUG_REGION_DESTROYED, "REGION_DESTROYED"},
    {VUG_STATUS_ERROR, "ERROR"},
    {VUG_SUBSCRIBED, "SUBSCRIBED"},
    {VUG_SNAPSHOT_ENDED, "SNAPSHOT_END"},
    {VUG_RECONNECTING, "RECONNECTING"},
};

const char *vug_status_text(enum vug_status_code code)
{
    for (size_t i = 0; i < sizeof status_rows / sizeof status_rows[0]; i++)
        if (status_rows[i].code == code)
            return status_rows[i].text;
    return "UNKNOWN";
}

const char *vug_kind_text(enum vug_kind kind)
{
    switch (kind) {
    case VUG_INSERT:
        return "+I";
    case VUG_UPDATE_BEFORE:
        return "-U";
    case VUG_UPDATE_AFTER:
        return "+U";
    case VUG_DELETE:
        return "-D";
    case VUG_LATE:
        return "LATE";
    case VUG_ROW_ERROR:
        return "ERROR";
    }
    return "?";
}

enum error cq_message_event(struct slice content, struct value values[LIMIT_COLUMNS],
                            struct vug_event *event)
{
    *event = (struct vug_event){.generation = 1, .values = values};
    while (content.len > 0) {
        struct codec_field field;
        enum error error = codec_next_field(&content, &field);
        if (error != OK)
            return error;
        bool is_bytes = field.wire_type == 2;
        if ((field.number == 5 || field.number == 6 || field.number == 11) != is_bytes)
            continue; /* of a later version */
        switch (field.number) {
        case 1:
            event->bucket = (uint32_t)field.integer;
            break;
        case 2:
            event->seq = field.integer;
            break;
        case 3:
            event->sub = (uint32_t)field.integer;
            break;
        case 4:
            event->kind = (enum vug_kind)field.integer;
            break;
        case 5:
            if (event->value_count == LIMIT_COLUMNS)
                return ERROR_LIMIT;
            error = value_decode(field.bytes, &values[event->value_count++]);
            break;
        case 6:
            error = value_decode(field.bytes, &event->key);
            break;
        case 7:
            event->event_time_ms = vug_wire_unzigzag(field.integer);
            break;
        case 8:
            event->ingest_time_ms = vug_wire_unzigzag(field.integer);
            break;
        case 11:
            event->error = field.bytes;
            break;
        case 12:
            event->generation = field.integer == 0 ? 1 : (uint32_t)field.integer;
            break;
        default:
            break;
        }
        if (error != OK)
            return error;
    }
    return OK;
}

enum error cq_message_batch(struct slice body, struct cq_message_batch *batch)
{
    *batch = (struct cq_message_batch){0};
    while (body.len > 0) {
        struct codec_field field;
        enum error error = codec_next_field(&body, &field);
        if (error != OK)
            return error;
        if (field.number == 5 && field.wire_type == 2)
            batch->token = field.bytes;
        if (field.wire_type != 0)
            continue;
        if (field.number == 1)
            batch->id = field.integer;
        else if (field.number == 3)
            batch->phase = (enum vug_phase)field.integer;
        else if (field.number == 6)
            batch->watermark_ms = vug_wire_unzigzag(field.integer);
        else if (field.number == 7)
            batch->conflated = field.integer;
    }
    return OK;
}

enum error cq_message_status(struct slice body, struct cq_message_status *message)
{
    *message = (struct cq_message_status){.status.code = VUG_CONNECTED};
    struct vug_status *status = &message->status;
    while (body.len > 0) {
        struct codec_field field;
        enum error error = codec_next_field(&body, &field);
        if (error != OK)
            return error;
        if (field.wire_type == 2 && field.number == 6)
            message->token = field.bytes;
        else if (field.wire_type == 2 && field.number == 7)
            status->detail = field.bytes;
        if (field.wire_type != 0)
            continue;
        if (field.number == 1)
            message->id = field.integer;
        else if (field.number == 2)
            status->code = (enum vug_status_code)field.integer;
        else if (field.number == 3)
            status->bucket = (uint32_t)field.integer;
        else if (field.number == 4)
            status->from_seq = field.integer;
        else if (field.number == 5)
            status->to_seq = field.integer;
    }
    return OK;
}
