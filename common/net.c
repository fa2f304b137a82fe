#include "common/net.h"

enum error net_conn_write(struct net_conn *conn, const void *data, size_t len)
{
    uint8_t *room;

    if (len == 0)
        return OK;
    room = net_conn_reserve(conn, len);
    if (room == NULL)
        return ERROR_MEMORY;
    memcpy(room, data, len);
    net_conn_commit(conn, len);
    return OK;
}
