/* The noise schedule and the reader of scheduler_config.json. */
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "sampler/noise_schedule.h"
#include "test.h"

static struct scheduler_config sd(void)
{
    struct scheduler_config c;
    scheduler_config_defaults(&c, SCHEDULER_DDIM);
    c.beta_schedule = BETAS_SCALED_LINEAR;
    c.beta_start = 0.00085;
    c.beta_end = 0.012;
    return c;
}

/* Numbers that diffusers 0.42.1 prints for DDIMScheduler(...).alphas_cumprod, which are f32. */
TEST(alphas_cumprod_are_those_of_diffusers)
{
    static const struct {
        enum beta_schedule betas;
        double start, end;
        bool zero_snr;
        int64_t t;
        double abar, tolerance;
    } cases[] = {
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, false, 0, 0.9991499781608582, 0 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, false, 500, 0.27633246779441833, 0 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, false, 999, 0.00466009508818388, 0 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, true, 0, 0.9991499781608582, 1e-7 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, true, 500, 0.24101854860782623, 1e-7 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, true, 998, 1.9679629303936963e-07, 1e-9 },
        { BETAS_SCALED_LINEAR, 0.00085, 0.012, true, 999, 0, 0 },
        { BETAS_LINEAR, 0.0001, 0.02, false, 999, 4.035830352222547e-05, 0 },
        { BETAS_SQUAREDCOS, 0.0001, 0.02, false, 500, 0.4922850430011749, 0 },
        { BETAS_SQUAREDCOS, 0.0001, 0.02, false, 999, 2.4287349909002387e-09, 0 },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scheduler_config c = sd();
        struct noise_schedule s;
        c.beta_schedule = cases[i].betas;
        c.beta_start = cases[i].start;
        c.beta_end = cases[i].end;
        c.rescale_zero_snr = cases[i].zero_snr;
        REQUIRE(noise_schedule_init(&s, &c, &e));
        CHECK_NEAR(s.alphas_cumprod[cases[i].t], cases[i].abar, cases[i].tolerance, "case %zu", i);
        noise_schedule_release(&s);
    }
}

/* The ends that everybody knows of Stable Diffusion: 0.0292 to 14.6146. */
TEST(sigmas_are_those_of_comfyui)
{
    struct err e = { 0 };
    struct scheduler_config c = sd();
    struct noise_schedule s;
    REQUIRE(noise_schedule_init(&s, &c, &e));
    CHECK_NEAR(s.sigmas[0], sqrt(0.00085 / 0.99915), 1e-8, "first");
    CHECK_NEAR(s.sigmas[999], 14.614642, 1e-6, "last");
    noise_schedule_release(&s);
    c.rescale_zero_snr = true;
    REQUIRE(noise_schedule_init(&s, &c, &e));
    CHECK_NEAR(s.sigmas[0], sqrt(0.00085 / 0.99915), 1e-8, "first stays");
    CHECK_NEAR(s.sigmas[999], sqrt(1 / 4.8973451890853435e-08 - 1), 1e-3, "last");
    noise_schedule_release(&s);
}

/* x0 and noise can be had back from a noisy sample and v: x0 = a x - s v, noise = s x + a v (Salimans and Ho
 * 2022). */
TEST(v_and_the_noisy_sample_hold_x0_and_noise)
{
    struct err e = { 0 };
    struct scheduler_config c = sd();
    struct noise_schedule s;
    c.prediction = PREDICTION_V;
    c.rescale_zero_snr = true;
    REQUIRE(noise_schedule_init(&s, &c, &e));
    const float x0[3] = { 0.5f, -1.25f, 2 }, noise[3] = { -0.75f, 0.1f, 1.5f };
    static const int64_t times[] = { 0, 1, 500, 998, 999 };
    for (size_t k = 0; k < sizeof times / sizeof *times; k++) {
        float x[3], v[3];
        int64_t t = times[k];
        double a = sqrt(s.alphas_cumprod[t]), b = sqrt(1 - s.alphas_cumprod[t]);
        noise_schedule_add(&s, t, x0, noise, x, 3);
        noise_schedule_target(&s, t, x0, noise, v, 3);
        for (int i = 0; i < 3; i++) {
            CHECK_NEAR(a * (double)x[i] - b * (double)v[i], x0[i], 1e-6, "t %d", (int)t);
            CHECK_NEAR(b * (double)x[i] + a * (double)v[i], noise[i], 1e-6, "t %d", (int)t);
        }
        s.prediction = PREDICTION_EPSILON;
        noise_schedule_target(&s, t, x0, noise, v, 3);
        CHECK(!memcmp(v, noise, sizeof v), "epsilon");
        s.prediction = PREDICTION_SAMPLE;
        noise_schedule_target(&s, t, x0, noise, v, 3);
        CHECK(!memcmp(v, x0, sizeof v), "sample");
        s.prediction = PREDICTION_V;
    }
    CHECK(noise_schedule_snr(&s, 999) == 0, "zero terminal SNR");
    noise_schedule_release(&s);
}

TEST(min_snr_weights_are_those_of_the_paper)
{
    struct err e = { 0 };
    struct scheduler_config c = sd();
    struct noise_schedule s;
    c.rescale_zero_snr = true;
    REQUIRE(noise_schedule_init(&s, &c, &e));
    for (int64_t t = 0; t < s.count; t += 111) {
        double snr = noise_schedule_snr(&s, t), least = snr < 5 ? snr : 5;
        s.prediction = PREDICTION_EPSILON;
        CHECK_NEAR(noise_schedule_min_snr_weight(&s, t, 5), snr > 0 ? least / snr : 1, 1e-15, "t %d", (int)t);
        s.prediction = PREDICTION_V;
        CHECK_NEAR(noise_schedule_min_snr_weight(&s, t, 5), least / (snr + 1), 1e-15, "t %d", (int)t);
        s.prediction = PREDICTION_SAMPLE;
        CHECK_NEAR(noise_schedule_min_snr_weight(&s, t, 5), least, 1e-15, "t %d", (int)t);
    }
    noise_schedule_release(&s);
}

static bool read_text(struct scheduler_config *c, const char *text, struct err *e)
{
    const char *path = test_scratch("scheduler_config.json");
    struct err local = { 0 };
    if (!file_write_whole(path, text, strlen(text), &local))
        fail_msg("%s", local.text);
    return scheduler_config_read(c, path, e);
}

/* Eq. 23 solved for u: timesteps below t count as often as u = t / (shift - (shift - 1) t) is uniform. */
TEST(timesteps_are_drawn_as_often_as_the_shift_says)
{
    enum { DRAWS = 1 << 16, COUNT = 1000 };
    const struct noise_schedule schedule = { .count = COUNT };
    static const double shifts[] = { 1, 3, 0.5 };
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        double s = shifts[i], below = 0;
        int64_t least = COUNT, most = 0;
        for (int64_t k = 0; k < DRAWS; k++) {
            int64_t t = noise_schedule_draw(&schedule, s, ((double)k + 0.5) / DRAWS);
            below += t < 800;
            least = t < least ? t : least;
            most = t > most ? t : most;
        }
        CHECK_NEAR(below / DRAWS, 0.8 / (s - (s - 1) * 0.8), 1e-4, "shift %g", s);
        CHECK(least == 0 && most == COUNT - 1, "shift %g: %d to %d", s, (int)least, (int)most);
    }
    CHECK(noise_schedule_draw(&schedule, 3, 1 - 1e-17) == COUNT - 1, "%s", "rounding does not leave the table");
}

TEST(a_wrong_scheduler_config_names_file_key_and_value)
{
    struct scheduler_config c;
    struct err e = { 0 };
    static const struct {
        const char *text;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "[]", ERR_FORMAT, "no JSON object" },
        { "{\"_class_name\": \"DDIMScheduler\"", ERR_FORMAT, "scheduler_config.json" },
        { "{}", ERR_MISSING, "_class_name" },
        { "{\"_class_name\": \"EDMEulerScheduler\"}", ERR_TYPE, "_class_name is \"EDMEulerScheduler\"" },
        { "{\"_class_name\": \"DDPMScheduler\", \"variance_type\": \"fixed_large_log\"}", ERR_FORMAT,
          "variance_type is \"fixed_large_log\"" },
        { "{\"_class_name\": \"LCMScheduler\", \"original_inference_steps\": 0}", ERR_FORMAT,
          "original_inference_steps" },
        { "{\"_class_name\": \"KDPM2DiscreteScheduler\", \"prediction_type\": \"sample\"}", ERR_FORMAT,
          "KDPM2DiscreteScheduler does not know" },
        { "{\"_class_name\": \"DEISMultistepScheduler\", \"solver_order\": 4}", ERR_FORMAT, "solver_order" },
        { "{\"_class_name\": \"DPMSolverSinglestepScheduler\", \"algorithm_type\": \"sde-dpmsolver\", "
          "\"final_sigmas_type\": \"sigma_min\"}",
          ERR_FORMAT, "DPMSolverSinglestepScheduler does not know" },
        { "{\"_class_name\": 3}", ERR_FORMAT, "_class_name" },
        { "{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"sigmoid\"}", ERR_FORMAT,
          "beta_schedule is \"sigmoid\"" },
        { "{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"exp\"}", ERR_FORMAT,
          "DDIMScheduler does not know" },
        { "{\"_class_name\": \"DDIMScheduler\", \"beta_start\": -1}", ERR_FORMAT, "beta_start" },
        { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 0}", ERR_FORMAT,
          "num_train_timesteps" },
        { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 1e9}", ERR_FORMAT,
          "num_train_timesteps" },
        { "{\"_class_name\": \"DDIMScheduler\", \"clip_sample\": 1}", ERR_FORMAT, "clip_sample" },
        { "{\"_class_name\": \"DDIMScheduler\", \"trained_betas\": [0.1, 0.2]}", ERR_FORMAT,
          "trained_betas has 2 numbers" },
        { "{\"_class_name\": \"DDIMScheduler\", \"trained_betas\": [\"a\"], \"num_train_timesteps\": 1}",
          ERR_FORMAT, "trained_betas[0]" },
        { "{\"_class_name\": \"PNDMScheduler\", \"prediction_type\": \"sample\"}", ERR_FORMAT,
          "PNDMScheduler does not know" },
        { "{\"_class_name\": \"EulerDiscreteScheduler\", \"prediction_type\": \"flow_prediction\"}",
          ERR_FORMAT, "prediction_type is \"flow_prediction\"" },
        { "{\"_class_name\": \"EulerDiscreteScheduler\", \"timestep_spacing\": \"log\"}", ERR_FORMAT,
          "timestep_spacing" },
        { "{\"_class_name\": \"EulerDiscreteScheduler\", \"use_karras_sigmas\": true, \"use_beta_sigmas\": "
          "true}",
          ERR_FORMAT, "only one" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"use_flow_sigmas\": true}", ERR_TYPE,
          "use_flow_sigmas" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"variance_type\": \"learned_range\"}",
          ERR_TYPE, "variance_type is learned_range" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"algorithm_type\": \"dpmsolver\"}", ERR_FORMAT,
          "algorithm_type dpmsolver needs final_sigmas_type sigma_min, it is zero" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"algorithm_type\": \"sde-dpmsolver\", "
          "\"solver_order\": 3, "
          "\"final_sigmas_type\": \"sigma_min\"}",
          ERR_FORMAT, "no solver_order 3" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"solver_order\": 4}", ERR_FORMAT,
          "solver_order" },
        { "{\"_class_name\": \"UniPCMultistepScheduler\", \"predict_x0\": false}", ERR_FORMAT, "predict_x0" },
        { "{\"_class_name\": \"UniPCMultistepScheduler\", \"lower_order_final\": false}", ERR_FORMAT,
          "lower_order_final" },
        { "{\"_class_name\": \"UniPCMultistepScheduler\", \"solver_p\": {}}", ERR_TYPE, "solver_p" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_FAILS(read_text(&c, cases[i].text, &e), cases[i].code, cases[i].part);
    CHECK_FAILS(scheduler_config_read(&c, "/nowhere/scheduler_config.json", &e), ERR_IO, "/nowhere");
}

/* As diffusers writes them: -Infinity is not JSON, nulls are defaults, unknown keys are ignored. */
TEST(a_file_as_diffusers_writes_it_is_read)
{
    struct scheduler_config c;
    struct err e = { 0 };
    REQUIRE(
        read_text(&c,
                  "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"_diffusers_version\": \"0.42.1\", "
                  "\"lambda_min_clipped\": -Infinity, \"trained_betas\": null, \"variance_type\": null, "
                  "\"skip_prk_steps\": true, \"note\": \"a \\\" -Infinity\", \"use_karras_sigmas\": true}",
                  &e));
    CHECK(c.class == SCHEDULER_DPM_MULTISTEP && isinf(c.lambda_min_clipped) && c.lambda_min_clipped < 0,
          "-Infinity");
    CHECK(c.sigmas == SIGMAS_KARRAS && c.spacing == SPACING_LINSPACE && !c.trained_betas, "defaults");
    scheduler_config_release(&c);
}

TEST(a_written_config_reads_back_the_same)
{
    struct err e = { 0 };
    for (int class = 0; class <= SCHEDULER_TCD; class ++) {
        struct scheduler_config a, b;
        scheduler_config_defaults(&a, (enum scheduler_class) class);
        a.beta_start = 0.001;
        a.train_steps = 3;
        if (class != SCHEDULER_DPM_SINGLESTEP)
            a.spacing = SPACING_TRAILING;
        a.steps_offset = 1;
        if (class != SCHEDULER_PNDM && class != SCHEDULER_EULER_ANCESTRAL && class != SCHEDULER_KDPM2 &&
            class != SCHEDULER_KDPM2_ANCESTRAL)
            a.prediction = PREDICTION_SAMPLE;
        a.rescale_zero_snr = class == SCHEDULER_DDIM;
        a.trained_betas = mem_zeroed(3, sizeof(float));
        for (int i = 0; i < 3; i++)
            a.trained_betas[i] = 0.25f * (float)(i + 1);
        if (class == SCHEDULER_UNIPC) {
            a.disable_corrector[0] = 2;
            a.disable_corrector_count = 1;
            a.solver = SOLVER_BH1;
            a.final_sigma_min = true;
        }
        json_t *json = scheduler_config_json(&a);
        CHECK(json, "class %d", class);
        REQUIRE(scheduler_config_from_json(&b, json, "written", &e));
        CHECK(!memcmp(a.trained_betas, b.trained_betas, 3 * sizeof(float)), "class %d", class);
        json_t *again = scheduler_config_json(&b);
        CHECK(json_equal(json, again), "class %d", class);
        CHECK(a.class == b.class && a.prediction == b.prediction &&
                  a.rescale_zero_snr == b.rescale_zero_snr && a.solver == b.solver &&
                  a.final_sigma_min == b.final_sigma_min && a.spacing == b.spacing &&
                  a.disable_corrector_count == b.disable_corrector_count,
              "class %d", class);
        json_decref(json);
        json_decref(again);
        scheduler_config_release(&a);
        scheduler_config_release(&b);
    }
}
