//! [`Policy`]: the built-in policies by name, with their parameters.

use core::fmt;
use core::str::FromStr;

use super::parameter::Parameter;
use super::{
    AdaptiveConfig, Ageing, ClockConfig, EvictionPolicy, Favor, LfuConfig, PolicyContext, S3FifoConfig, SlruConfig,
    TinyLfuConfig, TwoQueueConfig, adaptive, arc, clock, fifo, gdsf, lfu, lru, mru, s3fifo, sieve, slru, tiny_lfu,
    two_queue,
};
use crate::error::ParsePolicyError;

/// A policy that comes with the crate.
///
/// The name alone stands for the parameters of the literature. Others are set with the policy's configuration,
/// which turns into a `Policy`. Either prints as a string that parses to the same:
///
/// ```
/// use bytecache::Policy;
/// use bytecache::policy::{S3FifoConfig, simulate};
///
/// let policy: Policy = "lru".parse()?;
/// assert_eq!((policy, policy.to_string().as_str()), (Policy::Lru, "lru"));
///
/// let policy = Policy::from(S3FifoConfig::new().small_percent(20)?.promotion_visits(1)?);
/// assert_eq!(policy.to_string(), "s3-fifo(small=20,visits=1)");
/// assert_eq!("s3-fifo(visits=1,small=20)".parse::<Policy>()?, policy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// Least recently used. `"lru"`.
    Lru,
    /// Least frequently used, with counts that age. `"lfu"`.
    Lfu,
    /// Two queues and ghosts: 2Q in its full version. `"2q"`.
    TwoQueue,
    /// The adaptive replacement cache. `"arc"`.
    Arc,
    /// Segmented LRU. `"slru"`.
    Slru,
    /// First in, first out. `"fifo"`.
    Fifo,
    /// Most recently used. `"mru"`.
    Mru,
    /// Second chance. `"clock"`.
    Clock,
    /// A hand that sifts a queue. `"sieve"`.
    Sieve,
    /// Three FIFO queues: a small one that one-hit wonders soon leave, a main one, and ghosts. `"s3-fifo"`.
    S3Fifo,
    /// W-TinyLFU: a window, and admission by frequency. `"w-tinylfu"`.
    TinyLfu,
    /// GreedyDual-Size with frequency: small entries rather than large ones. `"gdsf"`.
    Gdsf,
    /// Two CLOCKs, a window and a main part. The border between them moves by measurement, and small
    /// entries stay rather than large ones. The default. `"adaptive"`.
    #[default]
    Adaptive,
    /// One of them with other parameters.
    Tuned(Tuned),
}

/// A policy with parameters of the user's own: made from its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuned(Variant);

impl Policy {
    /// All built-in policies, with the parameters of the literature.
    pub const ALL: &[Self] = &[
        Self::Lru,
        Self::Lfu,
        Self::TwoQueue,
        Self::Arc,
        Self::Slru,
        Self::Fifo,
        Self::Mru,
        Self::Clock,
        Self::Sieve,
        Self::S3Fifo,
        Self::TinyLfu,
        Self::Gdsf,
        Self::Adaptive,
    ];

    /// The name that [`FromStr`] takes, without parameters.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.variant().name()
    }

    /// A policy object for one shard, for a policy of your own that is made of this one.
    #[must_use]
    pub fn build(self, context: &PolicyContext) -> Box<dyn EvictionPolicy> {
        match self.variant() {
            Variant::Lru => Box::new(lru::Lru::new(context)),
            Variant::Lfu(config) => Box::new(lfu::Lfu::new(config, context)),
            Variant::TwoQueue(config) => Box::new(two_queue::TwoQueue::new(config, context)),
            Variant::Arc => Box::new(arc::Arc::new(context)),
            Variant::Slru(config) => Box::new(slru::Slru::new(config, context)),
            Variant::Fifo => Box::new(fifo::Fifo::new(context)),
            Variant::Mru => Box::new(mru::Mru::new(context)),
            Variant::Clock(config) => Box::new(clock::Clock::new(config, context)),
            Variant::Sieve => Box::new(sieve::Sieve::new(context)),
            Variant::S3Fifo(config) => Box::new(s3fifo::S3Fifo::new(config, context)),
            Variant::TinyLfu(config) => Box::new(tiny_lfu::TinyLfu::new(config, context)),
            Variant::Gdsf => Box::new(gdsf::Gdsf::new(context)),
            Variant::Adaptive(config) => Box::new(adaptive::Adaptive::new(config, context)),
        }
    }

    /// This policy with all its parameters.
    fn variant(self) -> Variant {
        match self {
            Self::Lru => Variant::Lru,
            Self::Lfu => Variant::Lfu(LfuConfig::new()),
            Self::TwoQueue => Variant::TwoQueue(TwoQueueConfig::new()),
            Self::Arc => Variant::Arc,
            Self::Slru => Variant::Slru(SlruConfig::new()),
            Self::Fifo => Variant::Fifo,
            Self::Mru => Variant::Mru,
            Self::Clock => Variant::Clock(ClockConfig::new()),
            Self::Sieve => Variant::Sieve,
            Self::S3Fifo => Variant::S3Fifo(S3FifoConfig::new()),
            Self::TinyLfu => Variant::TinyLfu(TinyLfuConfig::new()),
            Self::Gdsf => Variant::Gdsf,
            Self::Adaptive => Variant::Adaptive(AdaptiveConfig::new()),
            Self::Tuned(Tuned(variant)) => variant,
        }
    }

    /// The policy with these parameters; the plain one if they are the usual ones.
    fn tuned(variant: Variant) -> Self {
        let plain = Self::ALL.iter().find(|policy| policy.variant() == variant);
        plain.copied().unwrap_or(Self::Tuned(Tuned(variant)))
    }
}

/// A policy and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Variant {
    Lru,
    Lfu(LfuConfig),
    TwoQueue(TwoQueueConfig),
    Arc,
    Slru(SlruConfig),
    Fifo,
    Mru,
    Clock(ClockConfig),
    Sieve,
    S3Fifo(S3FifoConfig),
    TinyLfu(TinyLfuConfig),
    Gdsf,
    Adaptive(AdaptiveConfig),
}

impl Variant {
    const fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu(_) => "lfu",
            Self::TwoQueue(_) => "2q",
            Self::Arc => "arc",
            Self::Slru(_) => "slru",
            Self::Fifo => "fifo",
            Self::Mru => "mru",
            Self::Clock(_) => "clock",
            Self::Sieve => "sieve",
            Self::S3Fifo(_) => "s3-fifo",
            Self::TinyLfu(_) => "w-tinylfu",
            Self::Gdsf => "gdsf",
            Self::Adaptive(_) => "adaptive",
        }
    }

    /// The parameters and their values.
    fn parameters(self) -> Vec<(Parameter, String)> {
        match self {
            Self::Lfu(config) => vec![(LfuConfig::AGEING, config.ageing.name().to_owned())],
            Self::TwoQueue(config) => vec![
                (TwoQueueConfig::IN, config.in_percent.to_string()),
                (TwoQueueConfig::OUT, config.out_percent.to_string()),
            ],
            Self::Slru(config) => vec![(SlruConfig::PROTECTED, config.protected_percent.to_string())],
            Self::Clock(config) => vec![(ClockConfig::CHANCES, config.chances.to_string())],
            Self::S3Fifo(config) => vec![
                (S3FifoConfig::SMALL, config.small_percent.to_string()),
                (S3FifoConfig::VISITS, config.promotion_visits.to_string()),
            ],
            Self::TinyLfu(config) => vec![
                (TinyLfuConfig::WINDOW, config.window_percent.to_string()),
                (TinyLfuConfig::ADAPTIVE, config.is_adaptive.to_string()),
            ],
            Self::Adaptive(config) => vec![(AdaptiveConfig::FAVOR, config.favor.name().to_owned())],
            Self::Lru | Self::Arc | Self::Fifo | Self::Mru | Self::Sieve | Self::Gdsf => Vec::new(),
        }
    }

    /// Returns the policy with the parameter called `name` set.
    fn with(self, name: &str, value: &str) -> Result<Self, ParsePolicyError> {
        let known = self.parameters().into_iter().map(|(parameter, _)| parameter);
        let Some(parameter) = known.into_iter().find(|parameter| parameter.name() == name) else {
            let known = self.parameters().into_iter().map(|(parameter, _)| parameter.name()).collect();
            return Err(ParsePolicyError::UnknownParameter { policy: self.name(), parameter: name.to_owned(), known });
        };
        let number = || parameter.parse_number(value);
        Ok(match self {
            Self::Lfu(config) => Self::Lfu(config.ageing(Ageing::ALL[parameter.parse_word(value)?])),
            Self::TwoQueue(config) if parameter == TwoQueueConfig::IN => {
                Self::TwoQueue(TwoQueueConfig { in_percent: number()?, ..config })
            }
            Self::TwoQueue(config) => Self::TwoQueue(TwoQueueConfig { out_percent: number()?, ..config }),
            Self::Slru(_) => Self::Slru(SlruConfig { protected_percent: number()? }),
            Self::Clock(_) => Self::Clock(ClockConfig { chances: number()? }),
            Self::S3Fifo(config) if parameter == S3FifoConfig::SMALL => {
                Self::S3Fifo(S3FifoConfig { small_percent: number()?, ..config })
            }
            Self::S3Fifo(config) => Self::S3Fifo(S3FifoConfig { promotion_visits: number()?, ..config }),
            Self::TinyLfu(config) if parameter == TinyLfuConfig::WINDOW => {
                Self::TinyLfu(TinyLfuConfig { window_percent: number()?, ..config })
            }
            Self::TinyLfu(config) => Self::TinyLfu(config.adaptive(parameter.parse_flag(value)?)),
            Self::Adaptive(config) => Self::Adaptive(config.favor(Favor::ALL[parameter.parse_word(value)?])),
            Self::Lru | Self::Arc | Self::Fifo | Self::Mru | Self::Sieve | Self::Gdsf => self,
        })
    }
}

macro_rules! policy_from {
    ($($config:ident => $variant:ident),*) => {$(
        impl From<$config> for Policy {
            fn from(config: $config) -> Self {
                Self::tuned(Variant::$variant(config))
            }
        }
    )*};
}

policy_from!(
    LfuConfig => Lfu,
    TwoQueueConfig => TwoQueue,
    SlruConfig => Slru,
    ClockConfig => Clock,
    S3FifoConfig => S3Fifo,
    TinyLfuConfig => TinyLfu,
    AdaptiveConfig => Adaptive
);

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tuned(Tuned(variant)) => {
                let parameters = variant.parameters();
                let parameters = parameters.iter().map(|(parameter, value)| format!("{}={value}", parameter.name()));
                f.pad(&format!("{}({})", variant.name(), parameters.collect::<Vec<_>>().join(",")))
            }
            plain => f.pad(plain.name()),
        }
    }
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    /// Takes what [`Display`](fmt::Display) prints, in any case: a [`name`](Policy::name), maybe with parameters in
    /// brackets, which may be fewer than there are and in any order. Hyphens in the name may be left out.
    ///
    /// # Errors
    ///
    /// * [`ParsePolicyError::PolicyParameter`] if a parameter can not have its value: it names the
    ///   values that it can have;
    /// * [`ParsePolicyError::UnknownParameter`] if the policy has no parameter of a name: it names
    ///   those that there are;
    /// * [`ParsePolicyError::UnknownPolicy`] for any other text.
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let lower = text.to_ascii_lowercase();
        let (mut variant, parameters) =
            plain_and_parameters(&lower).ok_or_else(|| ParsePolicyError::UnknownPolicy { name: text.to_owned() })?;
        for parameter in parameters.split(',').filter(|parameter| !parameter.trim().is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            variant = variant.with(name.trim(), value.trim())?;
        }
        Ok(Self::tuned(variant))
    }
}

/// The policy that a text in lower case names, and what is in the brackets after it.
fn plain_and_parameters(text: &str) -> Option<(Variant, &str)> {
    let (name, parameters) = match text.strip_suffix(')') {
        Some(text) => text.split_once('(')?,
        None => (text, ""),
    };
    let plain = |name: &str| name.replace('-', "");
    let policy = Policy::ALL.iter().find(|policy| plain(policy.name()) == plain(name))?;
    Some((policy.variant(), parameters))
}
