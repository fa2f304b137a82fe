#include "server/ops.h"

/* GetRegionNamesResponse{1 repeated regions}: full paths. */
enum error op_get_region_names(struct session *session, struct slice body)
{
    const struct catalog *catalog = op_worker(session)->catalog;
    uint32_t count = catalog == NULL ? 0 : catalog->region_count;
    size_t len = 0;
    enum error error = message_check_member(14, body);
    if (error != OK)
        return error;
    for (uint32_t i = 0; i < count; i++)
        len += codec_bytes_field_size(1, strlen(catalog->regions[i]->name) + 1);
    uint8_t *at = session_reply_begin(session, 15, len);
    if (at == NULL)
        return ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        size_t name_len = strlen(catalog->regions[i]->name);
        at = codec_put_bytes_header(at, 1, name_len + 1);
        *at++ = '/';
        memcpy(at, catalog->regions[i]->name, name_len);
        at += name_len;
    }
    session_reply_end(session);
    return OK;
}
