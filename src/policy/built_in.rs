//! [`Policy`]: the built-in policies by name, with their parameters.
//!
//! Each policy's file has its name and its parameters ([`BuiltIn`], [`Parameters`]). The table in
//! `algorithms/mod.rs` lists the policies. `policies!` makes the enum of that table. This file
//! prints and parses it.

use core::fmt::{self, Debug};
use core::hash::Hash;
use core::str::FromStr;

use super::algorithms::{Tuned, Variant};
use super::parameter::{OutOfRange, Parameter};
use super::{EvictionPolicy, Policy, PolicyContext};
use crate::error::ParsePolicyError;

/// A policy that [`Policy`] names.
pub(crate) trait BuiltIn: EvictionPolicy + Sized + 'static {
    /// The name that [`FromStr`] takes, in lower case.
    const NAME: &'static str;
    /// Its parameters, or [`NoParameters`].
    type Config: Parameters;

    /// Creates the policy object of a shard.
    fn new(config: Self::Config, context: &PolicyContext) -> Self;
}

/// The parameters of a policy. The default is that of the literature.
pub(crate) trait Parameters: Copy + Debug + Default + Eq + Hash {
    /// Returns all parameters and their values, in the order in which they are printed.
    fn values(self) -> Vec<(Parameter, String)>;

    /// Returns these parameters with another value for `parameter`, which is one of them.
    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange>;
}

/// The configuration of a policy that has no parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct NoParameters;

impl Parameters for NoParameters {
    fn values(self) -> Vec<(Parameter, String)> {
        Vec::new()
    }

    fn with(self, _parameter: &Parameter, _value: &str) -> Result<Self, OutOfRange> {
        Ok(self)
    }
}

/// Makes [`Policy`] of a table of the built-in policies.
macro_rules! policies {
    ($($(#[$meta:meta])* $variant:ident $(($config:ident))? => $algorithm:ty,)*) => {
        /// A policy that comes with the crate.
        ///
        /// The name alone stands for the parameters of the literature. A policy's configuration
        /// sets others, and turns into a `Policy`. Each prints as a string that parses to the same:
        ///
        /// ```
        /// use bytecache::Policy;
        /// use bytecache::policy::S3FifoConfig;
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
            $($(#[$meta])* $variant,)*
            /// One of them with other parameters.
            Tuned(Tuned),
        }

        impl Policy {
            /// All built-in policies, with the parameters of the literature.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns this policy with all its parameters.
            pub(in crate::policy) fn variant(self) -> Variant {
                match self {
                    $(Self::$variant => Variant::$variant(Default::default()),)*
                    Self::Tuned(Tuned(variant)) => variant,
                }
            }
        }

        /// A policy with custom parameters, made from its configuration.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct Tuned(pub(in crate::policy) Variant);

        /// A policy and its parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(in crate::policy) enum Variant {
            $($variant(<$algorithm as $crate::policy::built_in::BuiltIn>::Config),)*
        }

        impl Variant {
            /// Returns the policy's name.
            pub(in crate::policy) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$algorithm as $crate::policy::built_in::BuiltIn>::NAME,)*
                }
            }

            /// Returns the parameters and their values.
            pub(in crate::policy) fn values(self) -> Vec<($crate::policy::parameter::Parameter, String)> {
                match self {
                    $(Self::$variant(config) => $crate::policy::built_in::Parameters::values(config),)*
                }
            }

            /// Returns the policy with another value for one of its parameters.
            pub(in crate::policy) fn with(
                self,
                parameter: &$crate::policy::parameter::Parameter,
                value: &str,
            ) -> Result<Self, $crate::policy::parameter::OutOfRange> {
                Ok(match self {
                    $(Self::$variant(config) => {
                        Self::$variant($crate::policy::built_in::Parameters::with(config, parameter, value)?)
                    })*
                })
            }

            /// Creates the policy object of a shard.
            pub(in crate::policy) fn build(
                self,
                context: &$crate::policy::PolicyContext,
            ) -> Box<dyn $crate::policy::EvictionPolicy> {
                match self {
                    $(Self::$variant(config) => {
                        Box::new(<$algorithm as $crate::policy::built_in::BuiltIn>::new(config, context))
                    })*
                }
            }
        }

        $($(
            impl From<$config> for Policy {
                fn from(config: $config) -> Self {
                    Self::tuned(Variant::$variant(config))
                }
            }
        )?)*
    };
}
pub(super) use policies;

impl Policy {
    /// Returns the name that [`FromStr`] takes, without parameters.
    ///
    /// ```
    /// use bytecache::Policy;
    ///
    /// assert_eq!(Policy::S3Fifo.name(), "s3-fifo");
    /// assert_eq!("s3-fifo(small=20)".parse::<Policy>()?.name(), "s3-fifo");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        self.variant().name()
    }

    /// Creates a policy object for one shard, for a custom policy that wraps this one.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{PolicyContext, Recency};
    ///
    /// let policy = Policy::Sieve.build(&PolicyContext::new(1000, 1 << 20));
    /// assert_eq!(policy.recency(), Recency::Counted);
    /// ```
    #[must_use]
    pub fn build(self, context: &PolicyContext) -> Box<dyn EvictionPolicy> {
        self.variant().build(context)
    }

    /// Returns the policy with these parameters: the plain one if they are those of the literature.
    pub(super) fn tuned(variant: Variant) -> Self {
        let plain = Self::ALL.iter().find(|policy| policy.variant() == variant);
        plain.copied().unwrap_or(Self::Tuned(Tuned(variant)))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tuned(Tuned(variant)) => {
                let values = variant.values();
                let values = values.iter().map(|(parameter, value)| format!("{}={value}", parameter.name()));
                f.pad(&format!("{}({})", variant.name(), values.collect::<Vec<_>>().join(",")))
            }
            plain => f.pad(plain.name()),
        }
    }
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    /// Parses the text that [`Display`](fmt::Display) prints, in any case: a
    /// [`name`](Policy::name), perhaps with parameters in brackets. Some or all of these may be
    /// left out, and they may be in any order. Hyphens in the name may be left out.
    ///
    /// # Errors
    ///
    /// * [`ParsePolicyError::PolicyParameter`] if a parameter cannot have its value. The error
    ///   names the values that it can have.
    /// * [`ParsePolicyError::UnknownParameter`] if the policy has no parameter of a name. The error
    ///   names those that there are.
    /// * [`ParsePolicyError::UnknownPolicy`] for any other text.
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let lower = text.to_ascii_lowercase();
        let (mut variant, parameters) =
            plain_and_parameters(&lower).ok_or_else(|| ParsePolicyError::UnknownPolicy { name: text.to_owned() })?;
        for parameter in parameters.split(',').filter(|parameter| !parameter.trim().is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            variant = with_parameter(variant, name.trim(), value.trim())?;
        }
        Ok(Self::tuned(variant))
    }
}

/// Returns the policy that a text in lower case names, and the text in the brackets after it.
fn plain_and_parameters(text: &str) -> Option<(Variant, &str)> {
    let (name, parameters) = match text.strip_suffix(')') {
        Some(text) => text.split_once('(')?,
        None => (text, ""),
    };
    let plain = |name: &str| name.replace('-', "");
    let policy = Policy::ALL.iter().find(|policy| plain(policy.name()) == plain(name))?;
    Some((policy.variant(), parameters))
}

/// Returns the policy with another value for the parameter called `name`.
fn with_parameter(variant: Variant, name: &str, value: &str) -> Result<Variant, ParsePolicyError> {
    let values = variant.values();
    match values.iter().find(|(parameter, _)| parameter.name() == name) {
        Some((parameter, _)) => Ok(variant.with(parameter, value)?),
        None => Err(ParsePolicyError::UnknownParameter {
            policy: variant.name(),
            parameter: name.to_owned(),
            known: values.iter().map(|(parameter, _)| parameter.name()).collect(),
        }),
    }
}
