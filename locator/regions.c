#include "locator/regions.h"

#include <stdio.h>

#include "common/text.h"
#include "locator/region_type.h"
#include "protocol/message.h"

struct slice region_name(struct slice name)
{
    return name.len > 0 && name.data[0] == '/' ? slice_of(name.data + 1, name.len - 1) : name;
}

static bool is_name_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

bool region_check_name(struct slice name, struct failure *failure)
{
    if (name.len == 0) {
        request_failure(failure, ADMIN_REASON_INVALID, "a region needs a name.");
        return false;
    }
    if (name.len > LIMIT_NAME_BYTES) {
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the name of a region has at most %u characters, this one %zu.",
                        LIMIT_NAME_BYTES, name.len);
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (is_name_character(name.data[i]))
            continue;
        request_failure(failure, ADMIN_REASON_INVALID,
                        "the name %.*s cannot be a region's: letters, digits, _ and - are "
                        "possible, which character %zu is "
                        "not.%s",
                        SLICE_FMT(name), i + 1,
                        name.data[i] == '/' ? " Regions inside of regions are not supported." : "");
        return false;
    }
    if (name.len >= 2 && name.data[0] == '_' && name.data[1] == '_') {
        request_failure(
            failure, ADMIN_REASON_INVALID,
            "the name %.*s cannot be a region's: names that begin with __ are the system's.",
            SLICE_FMT(name));
        return false;
    }
    return true;
}

static bool read_type(struct slice word, struct cluster_region *region, struct failure *failure)
{
    if (word.len == 0) {
        request_failure(failure, ADMIN_REASON_INVALID,
                        "a region needs a type: PARTITION, PARTITION_REDUNDANT, REPLICATE or "
                        "LOCAL.");
        return false;
    }
    const struct region_type *type = region_type_find(word);
    const char *nearest = type == NULL ? region_type_nearest(word) : NULL;
    if (type == NULL && nearest != NULL) {
        request_failure(failure, ADMIN_REASON_INVALID,
                        "there is no region type %.*s; did you mean %s?", SLICE_FMT(word), nearest);
    } else if (type == NULL) {
        request_failure(
            failure, ADMIN_REASON_INVALID,
            "there is no region type %.*s; there are PARTITION, PARTITION_REDUNDANT, REPLICATE and "
            "LOCAL.",
            SLICE_FMT(word));
    } else if (type->nearest != NULL) {
        request_failure(
            failure, ADMIN_REASON_UNSUPPORTED,
            "%s is a known shortcut, but not supported yet; the nearest that is supported is %s.",
            type->name, type->nearest);
        type = NULL;
    }
    if (type == NULL)
        return false;
    region->type = type->type;
    region->redundant_copies = type->redundant_copies;
    return true;
}

static bool read_constraint(struct slice word, const char *what, enum value_type *type,
                            struct failure *failure)
{
    char text[32];
    *type = VALUE_NOT_SET;
    if (word.len == 0)
        return true;
    if (word.len < sizeof(text)) {
        snprintf(text, sizeof(text), "%.*s", SLICE_FMT(word));
        *type = value_type_of_word(text);
    }
    if (*type != VALUE_NOT_SET)
        return true;
    request_failure(failure, ADMIN_REASON_INVALID,
                    "there is no %s constraint %.*s; there are string, int, long, double, boolean, "
                    "byte, short, float, "
                    "bytes and json.",
                    what, SLICE_FMT(word));
    return false;
}

static bool read_numbers(const Pb__RegionCreateRequest *request, struct cluster_region *region,
                         struct failure *failure)
{
    if (request->bucket_count > LIMIT_BUCKETS) {
        request_failure(failure, ADMIN_REASON_INVALID, "a region has 1 to %u buckets, not %u.",
                        LIMIT_BUCKETS, request->bucket_count);
        return false;
    }
    region->bucket_count =
        request->bucket_count == 0 ? REGION_BUCKETS_DEFAULT : request->bucket_count;
    if (request->redundant_copies == 0)
        return true;
    if (region->type == CLUSTER_REPLICATE || region->type == CLUSTER_LOCAL) {
        request_failure(failure, ADMIN_REASON_INVALID,
                        "a %s region has %s; a number of redundant copies is for PARTITION.",
                        cluster_region_type_word(region->type),
                        region->type == CLUSTER_LOCAL ? "no copies on other servers"
                                                      : "a copy on every server");
        return false;
    }
    if (request->redundant_copies > REGION_COPIES_MAX) {
        request_failure(failure, ADMIN_REASON_INVALID,
                        "a region has 0 to %u redundant copies, not %u.", REGION_COPIES_MAX,
                        request->redundant_copies);
        return false;
    }
    region->redundant_copies = request->redundant_copies;
    region->type = CLUSTER_PARTITION_REDUNDANT;
    return true;
}

bool region_of_request(const Pb__RegionCreateRequest *request, struct cluster_region *region,
                       struct failure *failure)
{
    *region = (struct cluster_region){.name = region_name(message_slice(request->name))};
    return region_check_name(region->name, failure) &&
           read_type(message_slice(request->type), region, failure) &&
           read_numbers(request, region, failure) &&
           read_constraint(message_slice(request->key_constraint), "key", &region->key_constraint,
                           failure) &&
           read_constraint(message_slice(request->value_constraint), "value",
                           &region->value_constraint, failure);
}

bool region_is_same(const struct cluster_region *a, const struct cluster_region *b)
{
    return a->type == b->type && a->redundant_copies == b->redundant_copies &&
           a->bucket_count == b->bucket_count && a->key_constraint == b->key_constraint &&
           a->value_constraint == b->value_constraint;
}

void region_fail_unknown(const struct cluster_map *map, struct slice name, struct failure *failure)
{
    struct text_nearest nearest;
    text_nearest_init(&nearest, name);
    for (uint32_t i = 0; i < map->region_count; i++)
        text_nearest_offer(&nearest, (const char *)map->regions[i].name.data);
    const char *best = text_nearest_best(&nearest);
    if (best != NULL)
        request_failure(failure, ADMIN_REASON_NOT_FOUND,
                        "there is no region %.*s; did you mean %s?", SLICE_FMT(name), best);
    else
        request_failure(failure, ADMIN_REASON_NOT_FOUND,
                        "there is no region %.*s; `vug region list` shows those that there are.",
                        SLICE_FMT(name));
}
