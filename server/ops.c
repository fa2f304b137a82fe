#include "server/ops.h"

/* member, name, flags, permission (Geode's), handler */
const struct operation server_operations[] = {
    {2, "put", 0, "DATA:WRITE:region:key", op_put},
    {4, "get", 0, "DATA:READ:region:key", op_get},
    {6, "putAll", OPERATION_ALONE, "DATA:WRITE:region", op_put_all},
    {8, "getAll", OPERATION_ALONE, "DATA:READ:region", op_get_all},
    {10, "remove", 0, "DATA:WRITE:region:key", op_remove},
    {14, "getRegionNames", 0, "DATA:READ", op_get_region_names},
    {16, "getSize", OPERATION_ALONE, "DATA:READ:region", op_get_size},
    {28, "keySet", OPERATION_ALONE, "DATA:READ:region", op_key_set},
    {32, "clear", OPERATION_ALONE, "DATA:WRITE:region", op_clear},
    {34, "putIfAbsent", 0, "DATA:WRITE:region:key", op_put_if_absent},
    {1001, "cqSubscribe", OPERATION_ALONE, "DATA:READ:region", op_cq_subscribe},
    {1004, "cqAck", OPERATION_PASSES, "", op_cq_ack},
    {1005, "cqUnsubscribe", OPERATION_ALONE, "", op_cq_unsubscribe},
    {1010, "cqList", OPERATION_ALONE, "CLUSTER:READ", op_cq_list},
    {1012, "sqlExecute", OPERATION_ALONE, "DATA:READ or DATA:MANAGE", op_sql_execute},
    {1016, "writeBatch", 0, "DATA:WRITE:region", op_write_batch},
    {1020, "regionCreate", OPERATION_ALONE, "DATA:MANAGE", op_region_create},
    {1022, "regionDestroy", OPERATION_ALONE, "DATA:MANAGE", op_region_destroy},
    {1024, "clusterStatus", OPERATION_ALONE, "CLUSTER:READ", op_cluster_status},
    {1026, "rebalance", OPERATION_ALONE, "CLUSTER:MANAGE", op_rebalance},
    {1028, "memberStop", OPERATION_ALONE, "CLUSTER:MANAGE", op_member_stop},
    {1030, "regionClear", OPERATION_ALONE, "DATA:WRITE:region", op_region_clear},
    {1032, "memberForget", OPERATION_ALONE, "CLUSTER:MANAGE", op_member_forget},
    {0},
};
