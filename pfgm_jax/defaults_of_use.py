"""The fields of a config that say how a trained model is used, with their meaning, unit and range; see `defaults`."""

import ml_collections
from ml_collections import config_dict


def groups() -> tuple[ml_collections.ConfigDict, ml_collections.ConfigDict, ml_collections.ConfigDict]:
    """Creates the groups sampling, eval and restore."""
    return _sampling(), _evaluation(), _restore()


def _sampling() -> ml_collections.ConfigDict:
    """How samples are drawn."""
    sampling = ml_collections.ConfigDict()
    # ode: the solver below; or one that adds noise: ddim, ddpm, sde_dpmpp_2m, edm, pc (of score-based SDEs),
    # annealed_langevin; repaint, for restoring; disturbed_heun, to measure how much noise a method bears.
    sampling.method = "ode"
    # rk45, tsit5 (adaptive), euler, improved_euler, heun (N steps), dpmpp_2m, dpmpp_3m (N steps, for few evaluations)
    sampling.ode_solver = "rk45"
    sampling.rtol = 1e-4  # relative tolerance of the adaptive solvers; > 0
    sampling.atol = 1e-4  # absolute tolerance of the adaptive solvers, in network units; > 0
    sampling.max_steps = 1000  # attempted steps after which an adaptive solve has failed; >= 1
    sampling.shared_step = False  # one step size for the whole batch, as the authors'; False: each sample has its own
    sampling.N = 100  # steps of the other solvers; >= 1
    # Steps even in log z ("log"), in z^(1/rho) ("rho"), or in the time of a method with Gaussian noise ("time", only of
    # samplers that add noise), or at the values that `pfgm-jax schedule` has chosen for the run ("calibrated"); "": the
    # usual one: rho for dpmpp, heun and edm, time for ddim and ddpm, else log.
    sampling.schedule = ""
    sampling.rho = 7.0  # of that schedule; > 0
    sampling.levels = ()  # values of z to step through between z_max and z_min, descending, instead of N steps
    sampling.z_max = 0.0  # where the backward ODE starts; > z_min; 0: from the data
    sampling.z_min = 1e-3  # where it ends; > 0
    sampling.upper_norm = 0.0  # norm at which draws from the prior are clipped; 0: from the data
    # Norm that no example exceeds, in network units; 0: from the data, if they have fewer than 64 dimensions.
    sampling.data_radius = 0.0
    sampling.z_exp = 5.0  # below it, E_z = -z replaces the network's z part; >= 0
    sampling.exact_substitution = False  # there, invert the normalization exactly, and not by the paper's formula
    sampling.drift_epsilon = 1e-5  # added to v_z in dx/ds = z v_x / v_z, as the authors' code does; >= 0
    # Of all methods but PFGM:
    sampling.eps = 0.0  # time where sampling ends; 0: 1e-3, of vesde 1e-5, of discrete levels and pfgmpp the smallest
    sampling.noise_removal = True  # denoise samples at their end
    sampling.eta = 0.0  # share of DDPM's noise that ddim adds; in [0, 1]
    sampling.clip = 0.0  # of ddim, ddpm and sde_dpmpp_2m: largest absolute value of what x is denoised to; 0: none
    sampling.variance = "small"  # of ddpm's noise: small (of the posterior) or large (beta)
    sampling.S_churn = 40.0  # of edm: noise is added in every step, this over N of it but at most 0.41; >= 0
    sampling.S_tmin = 0.05  # smallest noise over data where it is; >= 0
    sampling.S_tmax = 50.0  # largest; >= S_tmin
    sampling.S_noise = 1.003  # standard deviation of what is added; >= 0
    # Of pc: euler_maruyama, reverse_diffusion, ancestral_sampling or none; then langevin, ald or none.
    sampling.predictor = "reverse_diffusion"
    sampling.corrector = "langevin"
    sampling.snr = 0.16  # ratio of signal to noise of the corrector; > 0
    sampling.n_steps_each = 1  # steps of the corrector in each of pc, or of annealed_langevin at each level; >= 1
    sampling.probability_flow = False  # follow the ODE
    sampling.step_size = 2e-5  # of annealed_langevin at the smallest level, in squared network units; > 0
    sampling.resamplings = 10  # of repaint: how often it takes each of its N steps; >= 1
    sampling.alpha = 0.1  # of disturbed_heun: noise after each step, in units of the noise level; >= 0
    # Class of all samples, or of each in turn, such as (0,1,2); or the numbers of a label; -1: without a label; (): as
    # often as in the data.
    sampling.label = config_dict.FieldReference((), field_type=object)
    sampling.guidance = 1.0  # how far to go towards what is given: 0: not at all; 1: as the network; more: further
    sampling.guidance_interval = ()  # noise levels between which there is guidance, (low, high); (): all
    # Workdir of an upsampler, a model that is conditioned on images such as these samples, to be drawn after them.
    sampling.then = ""
    sampling.num_samples = 64  # images that --mode sample makes; >= 1
    sampling.batch_size = 256  # images made at a time; >= 1
    sampling.checkpoint = 0  # step of the checkpoint of --mode sample, likelihood and restore; 0: the newest
    return sampling


def _evaluation() -> ml_collections.ConfigDict:
    """What is measured."""
    evaluation = ml_collections.ConfigDict()
    evaluation.checkpoints = "newest"  # newest, all, or steps such as "50000,100000"
    evaluation.batch_size = 256  # images at a time, of features and likelihoods; >= 1
    evaluation.enable_sampling = True  # draw samples, and compare them with the training data
    evaluation.num_samples = 50_000  # samples to be compared; >= 2
    # What images are compared by: inception, efficientnet (no download), or pixels (of tiny images).
    evaluation.features = "inception"
    evaluation.front_end = "tensorflow"  # how images are resized for Inception: tensorflow or pytorch-fid
    evaluation.weights = ""  # file of the network's weights; "": the published one
    # Values that pictures of samples, and features, show as black and white, (low, high) in the units of the data; ():
    # all grey levels, of real numbers two standard deviations about the mean.
    evaluation.window = ()
    evaluation.statistics = ""  # .npz file of published statistics; "": of the training data, made once
    evaluation.per_class = False  # compare samples of each class with the data's, too
    evaluation.enable_loss = True  # the loss on the test split
    evaluation.enable_bpd = False  # bits per dimension of bpd_dataset
    evaluation.bpd_dataset = "test"  # test or train (of data.dataset), folder:PATH or arrays:PATH
    evaluation.num_images = 0  # of bpd_dataset, the first so many; 0: all
    evaluation.divergence = (
        "rademacher"  # Hutchinson's probes, rademacher or gaussian; exact, for data of few dimensions
    )
    evaluation.num_probes = 1  # times that probes and dequantization are drawn for each image; >= 1
    evaluation.enable_nfe_curve = False  # quality against evaluations of the network, for each solver
    evaluation.enable_noise_curve = False  # quality against noise that is added in each of sampling.N steps
    evaluation.enable_quantization_curve = False  # quality against the number of bits of a weight
    evaluation.enable_norm_curve = False  # norms of samples on their way from the prior
    evaluation.enable_interpolate = False  # images between pairs of random latents
    evaluation.enable_rescale = False  # images of random latents of other norms
    return evaluation


def _restore() -> ml_collections.ConfigDict:
    """What --mode restore restores, and how."""
    restore = ml_collections.ConfigDict()
    # What became of the images: inpaint (pixels are missing), crop (all but a part is), grey, downscale, blur or
    # denoise (noise alone).
    restore.operator = "inpaint"
    restore.noise = 0.0  # standard deviation of the noise of what was measured, in units of the data; 0 to 1e9
    # How what was measured leads samples: null_space (DDNM), pigdm or dps (with derivatives, so
    # slower), or sdedit, which begins at it.
    restore.rule = "null_space"
    restore.images = "test"  # test or train (of data.dataset), folder:PATH or arrays:PATH
    restore.num_images = 16  # the first so many; 0: all
    restore.whole = True  # they are whole, and damaged first, so that results can be compared; False: they are damaged
    restore.samples = 1  # answers for each image; 1 to 2048
    # Noise level where samples start, z or sigma / alpha or t; 0: that of the prior, of sdedit half-way to it.
    restore.start = 0.0
    # Of inpaint, what is missing: the share of pixels, at random; a rectangle, "(top, left, height, width)"; or the
    # file of a mask, a picture that is white where images are known, or an array that is 1 there.
    restore.mask = config_dict.FieldReference(0.5, field_type=object)
    restore.part = ()  # of crop: what is known, (top, left, height, width) in pixels; (): the middle half
    restore.factor = 2  # of downscale: how many times as short sides are; it divides them
    restore.filter = "area"  # of downscale: area (means of blocks) or bicubic
    # Of blur: gaussian, motion, or the file of a kernel, a picture or an array.
    restore.kernel = config_dict.FieldReference("gaussian", field_type=object)
    restore.extent = 1.0  # standard deviation of gaussian, or length of motion, in pixels; > 0
    restore.angle = 0.0  # of motion, in degrees from the horizontal, counter-clockwise
    restore.strength = 1.0  # of dps: how much it moves images towards what was measured; > 0
    return restore
