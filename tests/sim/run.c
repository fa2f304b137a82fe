/* The program behind tests/sim/run: whole clusters among faults, from seeds.
 *
 *   sim-run --seed N [--trace]            one run, told line by line
 *   sim-run --first N --seeds COUNT       so many, each in turn; stops at the first failure
 *   sim-run --tap CHUNKS                  the same as CHUNKS tests of COUNT seeds each
 *   sim-run --tap-plants PART/PARTS       every planted fault is found, and its seeds are clean
 *                                         without it
 *   ... [--scenario NAME] [--plant NAME]
 *
 * Seeds run in a child process, so that an abort of the product is a finding like any other. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/scenario.h"
#include "tests/sim/sim_impl.h"

enum {
    SEED_SECONDS = 60, /* a run that takes longer hangs */
    TWICE_EACH = 20,   /* of so many seeds one is run twice, and has to repeat itself */
    PLANT_SEEDS = 500,
    CLEAN_SEEDS = 40,     /* at least so many are clean without it */
    FAILURES_MAX = 3,     /* then a test program gives up */
    SANITIZED_SHARE = 10, /* runs take so many times as long there */
};

struct arguments {
    const struct scenario *scenario;
    enum plant plant;
    uint64_t seed, first, seeds;
    unsigned chunks, part, parts;
    bool one, trace, tap, tap_plants, is_quiet;
};

/* What a child said of a range of seeds. */
struct findings {
    uint64_t clean; /* seeds from the first on */
    bool failed;
    uint64_t seed; /* the one that failed */
    struct scenario_result last, sum;
};

static void tell_result(const struct scenario_result *result)
{
    printf("# %u faults, %u promotions, %u losses; %u of %u calls answered, %u written, %u "
           "commits; %llu steps in %llu ms; hash %016llx\n",
           result->faults, result->promotions, result->losses, result->answered, result->calls,
           result->written, result->commits, (unsigned long long)result->steps,
           (unsigned long long)(result->virtual_us / 1000), (unsigned long long)result->hash);
}

static void run_seed(const struct arguments *arguments, uint64_t seed,
                     struct scenario_result *result)
{
    scenario_run(arguments->scenario, seed, NULL, result);
    if (seed % TWICE_EACH == 0 && !result->verdict.failed) {
        struct scenario_result again;
        scenario_run(arguments->scenario, seed, NULL, &again);
        if (again.hash != result->hash)
            verdict_fail(&result->verdict, "two runs differ: hashes %016llx and %016llx",
                         (unsigned long long)result->hash, (unsigned long long)again.hash);
    }
}

static void be_child(const struct arguments *arguments, int pipe_end)
{
    plant_set(arguments->plant);
    if (arguments->is_quiet && freopen("/dev/null", "w", stderr) == NULL)
        _exit(2);
    for (uint64_t i = 0; i < arguments->seeds; i++) {
        struct scenario_result result;
        alarm(SEED_SECONDS);
        run_seed(arguments, arguments->first + i, &result);
        if (write(pipe_end, &result, sizeof result) != (ssize_t)sizeof result ||
            result.verdict.failed)
            break;
    }
    _exit(0);
}

static bool read_result(int pipe_end, struct scenario_result *result)
{
    size_t got = 0;
    while (got < sizeof *result) {
        ssize_t part = read(pipe_end, (char *)result + got, sizeof *result - got);
        if (part < 0 && errno == EINTR)
            continue;
        if (part <= 0)
            return false;
        got += (size_t)part;
    }
    return true;
}

static void add_up(struct scenario_result *sum, const struct scenario_result *result)
{
    sum->faults += result->faults;
    sum->promotions += result->promotions;
    sum->losses += result->losses;
    sum->calls += result->calls;
    sum->answered += result->answered;
    sum->written += result->written;
    sum->commits += result->commits;
    sum->steps += result->steps;
    sum->virtual_us += result->virtual_us;
    sum->hash ^= result->hash;
}

static void run_seeds(const struct arguments *arguments, struct findings *findings)
{
    int ends[2], status = 0;
    *findings = (struct findings){0};
    fflush(stdout);
    INVARIANT(pipe(ends) == 0);
    pid_t child = fork();
    INVARIANT(child >= 0);
    if (child == 0) {
        close(ends[0]);
        be_child(arguments, ends[1]);
    }
    close(ends[1]);
    while (!findings->failed && read_result(ends[0], &findings->last)) {
        add_up(&findings->sum, &findings->last);
        findings->failed = findings->last.verdict.failed;
        findings->clean += !findings->failed;
    }
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    findings->seed = arguments->first + findings->clean;
    if (!findings->failed && findings->clean < arguments->seeds) {
        findings->failed = true;
        verdict_fail(&findings->last.verdict, "the process ended: %s",
                     WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an exit of its own");
    }
}

static void tell_failure(const struct arguments *arguments, const struct findings *findings)
{
    printf("# seed %llu: %s\n# repeat with: tests/sim/run --scenario %s --seed %llu",
           (unsigned long long)findings->seed, findings->last.verdict.text,
           arguments->scenario->name, (unsigned long long)findings->seed);
    if (arguments->plant != PLANT_NONE)
        printf(" --plant %s", plant_text(arguments->plant));
    printf(" --trace\n");
}

/* ---- Modes ---- */

/* Runs of a sanitizer's build look for other faults, and fewer of them are enough. */
static bool is_sanitized(void)
{
    return getenv("VUG_SANITIZED") != NULL;
}

static int run_one(const struct arguments *arguments)
{
    struct scenario_result result;
    plant_set(arguments->plant);
    scenario_run(arguments->scenario, arguments->seed, arguments->trace ? stdout : NULL, &result);
    tell_result(&result);
    printf("%s\n", result.verdict.failed ? result.verdict.text : "clean");
    return result.verdict.failed;
}

static int run_range(const struct arguments *arguments)
{
    struct findings findings;
    run_seeds(arguments, &findings);
    tell_result(&findings.sum);
    if (findings.failed)
        tell_failure(arguments, &findings);
    printf("%llu seeds clean\n", (unsigned long long)findings.clean);
    return findings.failed;
}

static int run_tap(const struct arguments *arguments)
{
    unsigned failures = 0;
    printf("1..%u\n", arguments->chunks);
    for (unsigned chunk = 0; chunk < arguments->chunks; chunk++) {
        struct arguments part = *arguments;
        struct findings findings;
        part.first = arguments->first + chunk * arguments->seeds;
        if (is_sanitized())
            part.seeds = 1 + part.seeds / SANITIZED_SHARE;
        if (failures >= FAILURES_MAX) {
            printf("not ok %u - not run after %u failures\n", chunk + 1, failures);
            continue;
        }
        run_seeds(&part, &findings);
        tell_result(&findings.sum);
        if (findings.failed)
            tell_failure(&part, &findings);
        failures += findings.failed;
        printf("%sok %u - %s: seeds %llu to %llu are clean\n", findings.failed ? "not " : "",
               chunk + 1, part.scenario->name, (unsigned long long)part.first,
               (unsigned long long)(part.first + part.seeds - 1));
    }
    return failures > 0;
}

static bool find_plant(const struct arguments *arguments, enum plant plant)
{
    struct arguments with = *arguments, without;
    struct findings found, clean;
    with.scenario = scenario_aimed_at(plant);
    if (with.scenario == NULL) {
        printf("# no scenario is aimed at it\n");
        return false;
    }
    with.plant = plant;
    with.first = 1;
    with.seeds = PLANT_SEEDS;
    with.is_quiet = true;
    run_seeds(&with, &found);
    if (!found.failed) {
        printf("# not found within %d seeds\n", PLANT_SEEDS);
        tell_result(&found.sum);
        return false;
    }
    tell_failure(&with, &found);
    without = with;
    without.plant = PLANT_NONE;
    without.is_quiet = false;
    without.seeds = found.seed < CLEAN_SEEDS ? CLEAN_SEEDS : found.seed;
    run_seeds(&without, &clean);
    if (clean.failed)
        tell_failure(&without, &clean);
    return !clean.failed;
}

static int run_tap_plants(const struct arguments *arguments)
{
    unsigned count = 0, number = 0, failures = 0;
    for (unsigned plant = 1; plant < PLANT_COUNT; plant++)
        count += plant % arguments->parts == arguments->part;
    printf("1..%u\n", count);
    for (unsigned plant = 1; plant < PLANT_COUNT; plant++) {
        if (plant % arguments->parts != arguments->part)
            continue;
        bool found = find_plant(arguments, (enum plant)plant);
        failures += !found;
        printf("%sok %u - %s is found, and its seeds are clean without it\n", found ? "" : "not ",
               ++number, plant_text((enum plant)plant));
        fflush(stdout);
    }
    return failures > 0;
}

/* ---- The command line ---- */

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "sim-run: \"%s\" is not a number\n", text);
        exit(2);
    }
    return number;
}

static enum plant plant_named(const char *name)
{
    for (unsigned plant = 0; plant < PLANT_COUNT; plant++)
        if (strcmp(plant_text((enum plant)plant), name) == 0)
            return (enum plant)plant;
    fprintf(stderr, "sim-run: there is no planted fault \"%s\"; there are:", name);
    for (unsigned plant = 0; plant < PLANT_COUNT; plant++)
        fprintf(stderr, " %s", plant_text((enum plant)plant));
    fprintf(stderr, "\n");
    exit(2);
}

static const struct scenario *scenario_of(const char *name)
{
    const struct scenario *scenario = scenario_named(name);
    if (scenario == NULL) {
        fprintf(stderr, "sim-run: there is no scenario \"%s\"; there are:", name);
        for (size_t i = 0; i < scenario_count; i++)
            fprintf(stderr, " %s", scenarios[i].name);
        fprintf(stderr, "\n");
        exit(2);
    }
    return scenario;
}

static void read_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                            {"trace", no_argument, NULL, 't'},
                                            {"first", required_argument, NULL, 'f'},
                                            {"seeds", required_argument, NULL, 'n'},
                                            {"tap", required_argument, NULL, 'T'},
                                            {"tap-plants", required_argument, NULL, 'P'},
                                            {"scenario", required_argument, NULL, 'S'},
                                            {"plant", required_argument, NULL, 'p'},
                                            {0}};
    const char *scenario = NULL;
    int option;
    *arguments = (struct arguments){.first = 1, .seeds = 100};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            arguments->one = true;
            arguments->seed = number_of(optarg);
            break;
        case 't':
            arguments->trace = true;
            break;
        case 'f':
            arguments->first = number_of(optarg);
            break;
        case 'n':
            arguments->seeds = number_of(optarg);
            break;
        case 'T':
            arguments->tap = true;
            arguments->chunks = (unsigned)number_of(optarg);
            break;
        case 'P':
            arguments->tap_plants = true;
            if (sscanf(optarg, "%u/%u", &arguments->part, &arguments->parts) != 2 ||
                arguments->parts == 0 || arguments->part >= arguments->parts)
                exit(2);
            break;
        case 'S':
            scenario = optarg;
            break;
        case 'p':
            arguments->plant = plant_named(optarg);
            break;
        default:
            exit(2);
        }
    }
    arguments->scenario = scenario != NULL                 ? scenario_of(scenario)
                          : arguments->plant != PLANT_NONE ? scenario_aimed_at(arguments->plant)
                                                           : &scenarios[0];
    if (arguments->scenario == NULL) {
        fprintf(stderr, "sim-run: no scenario is aimed at that\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    read_arguments(argc, argv, &arguments);
    if (arguments.one)
        return run_one(&arguments);
    if (arguments.tap_plants)
        return run_tap_plants(&arguments);
    return arguments.tap ? run_tap(&arguments) : run_range(&arguments);
}
